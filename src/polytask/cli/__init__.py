"""The command `polytask`: one file a verb. Nothing here imports torch before a verb needs it."""

from polytask.cli._app import app, main

__all__ = ["app", "main"]
