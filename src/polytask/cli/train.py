"""`polytask train`: from a declared run to a trained one."""

from pathlib import Path
from typing import Annotated

import typer

from polytask.cli._verb import Config, Json, Quiet, Settings, complain, print_json

Out = Annotated[Path | None, typer.Option("--out", "-o", help="Directory of the run; runs/NAME-OF-THE-TOML where not given.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start anew in a new, numbered directory.")]


def train(
    config: Config, *, out: Out = None, settings: Settings = None, fresh: Fresh = False, json: Json = False, quiet: Quiet = False
) -> None:
    """Train a declared run. The same command again goes on where an interrupted one stopped."""
    from polytask.cli._screen import metrics_table, show
    from polytask.config import read_config
    from polytask.run import fresh_directory
    from polytask.run import train as train_run

    declared = read_config(config, settings or ())
    directory = out or Path("runs") / config.stem
    if fresh:
        directory = fresh_directory(directory)
    for note in () if quiet else declared.notes:
        complain(note)
    result = train_run(declared, directory, progress=not quiet)
    if result.finished_before and not quiet:
        complain(f"{directory} was finished before: nothing was trained. --fresh starts anew.")
    if json:
        print_json(result.report())
    elif not quiet:
        show(metrics_table(result.metrics, title=f"{directory} on validation rows, best of {result.step:,} steps"))
