"""All verbs under one command."""

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from polytask.cli import _verb
from polytask.cli.check import check
from polytask.cli.data import data
from polytask.cli.evaluate import evaluate
from polytask.cli.fuse import fuse
from polytask.cli.init import init
from polytask.cli.list import list_
from polytask.cli.predict import predict
from polytask.cli.train import train

app = typer.Typer(
    name="polytask",
    help="Multi-task learning for PyTorch: share what should be shared, and know whether it helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for function in (init, check, train, evaluate, predict, fuse, list_, data):
    app.command(function.__name__.rstrip("_"))(_verb.clean(function))


def _print_version(wanted: bool) -> bool:
    if wanted:
        from polytask import __version__

        typer.echo(__version__)
        raise typer.Exit
    return wanted


@app.callback()
def options(
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where in the code an error arose.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback ends the command before anything else is asked for
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Multi-task learning for PyTorch: share what should be shared, and know whether it helped."""
    if traceback:
        os.environ[_verb.TRACEBACK] = "1"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; ends with `SystemExit`.

    Args:
        arguments: Words after `polytask`; those of the process where not given.
    """
    app(args=None if arguments is None else list(arguments), prog_name="polytask")
