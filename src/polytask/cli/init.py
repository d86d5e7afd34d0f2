"""`polytask init`: a declared run for a table that nobody described."""

from pathlib import Path
from typing import Annotated

import typer

from polytask.cli._verb import complain

Source = Annotated[str, typer.Argument(metavar="TABLE", help="File, folder or glob.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.")]
Label = Annotated[list[str] | None, typer.Option("--task", metavar="COLUMN", help="Column to predict; proposed where not given.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file.")]


def init(table: Source, *, out: Out = Path("run.toml"), task: Label = None, force: Force = False) -> None:
    """Look at a table, propose tasks and features, and write a declared run."""
    from polytask.errors import ConfigError, message
    from polytask.files import replacing
    from polytask.run import propose

    if out.exists() and not force:
        raise ConfigError(message(f"{str(out)!r} is there already.", received="no --force", way_out="Name another with --out."))
    text = propose(table, out=out, labels=task or ())
    try:
        with replacing(out) as scratch:
            scratch.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            message(f"{str(out)!r} must be writable.", received=str(error), way_out="Name another with --out.")
        ) from None
    complain(f"Wrote {out}. Look through it, then: polytask check {out}")
