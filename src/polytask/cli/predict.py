"""`polytask predict`: scores of a table, streamed into a file."""

from pathlib import Path
from typing import Annotated

import typer

from polytask.cli._verb import Directory, complain
from polytask.cli.evaluate import Checkpoint, Device

Source = Annotated[str, typer.Argument(metavar="TABLE", help="Rows to score; labels are not needed.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write: .parquet, .csv, .csv.gz, .arrow, .feather.")]
Keep = Annotated[
    list[str] | None, typer.Option("--keep", metavar="COLUMN", help="Column of the table to pass through, such as an id.")
]
Raw = Annotated[bool, typer.Option("--raw", help="Also write predictions as they were before calibration, as NAME_raw.")]


def predict(
    directory: Directory,
    table: Source,
    *,
    out: Out,
    keep: Keep = None,
    raw: Raw = False,
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
) -> None:
    """Score a table of any size with a trained run, in constant memory."""
    from polytask.run import load

    rows = load(directory, checkpoint=checkpoint, device=device).predict_into(table, out, keep=keep or (), raw=raw)
    complain(f"{rows:,} rows in {out}")
