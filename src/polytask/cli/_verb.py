"""What all verbs have in common: their options, and how they end."""

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from polytask.errors import PolytaskError

TRACEBACK = "POLYTASK_TRACEBACK"
"""Environment variable that keeps the traceback of an error."""

USER_ERROR, INTERRUPTED = 2, 130
"""Exit codes: a mistake that the user can mend; Ctrl-C (128 + SIGINT)."""

Config = Annotated[Path, typer.Argument(metavar="RUN.toml", help="A declared run.", show_default=False)]
Directory = Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Directory of a trained run.", show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one value: balancer.name=pcgrad, task.click.weight=2."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and results only.")]


def clean(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, ending with a message where the user can mend the matter, not with a traceback."""

    @functools.wraps(verb)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            verb(*arguments, **options)
            sys.stdout.flush()
        except PolytaskError as error:
            if os.environ.get(TRACEBACK):
                raise
            complain(f"polytask: {error}")
            raise typer.Exit(USER_ERROR) from None
        except KeyboardInterrupt as stop:  # Ctrl-C anywhere, or a training that saved first and knows its signal
            complain(f"polytask: {stop or 'interrupted.'}")
            raise typer.Exit(getattr(stop, "exit_code", INTERRUPTED)) from None
        except BrokenPipeError:  # the reader of our output is gone (`polytask list | head`): nothing is left to say
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None

    return wrapped


def complain(text: str) -> None:
    """Prints a line on standard error."""
    typer.echo(text, err=True)


def print_json(value: Any) -> None:
    """Prints strict JSON: a number that is none becomes null."""
    typer.echo(json.dumps(_strict(value), indent=2, ensure_ascii=False))


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
