"""`polytask fuse`: one score from the predictions of a table; or the search for its weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from polytask.cli._verb import Json, Quiet, complain, print_json
from polytask.errors import ConfigError, message

Source = Annotated[
    str, typer.Argument(metavar="TABLE", help="Predictions, as `polytask predict` writes them.", show_default=False)
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File of scores; of a search its directory.", show_default=False)]
Weights = Annotated[
    Path | None, typer.Option("--weights", "-w", metavar="FUSION.json", help="Weights; of a search its template.")
]
Column = Annotated[str, typer.Option("--column", help="Name of the score.")]
Search = Annotated[
    list[str] | None,
    typer.Option("--search", metavar="METRIC:COLUMN", help="Search for weights: ndcg@10:click, value_per_impression@1:price."),
]
Prediction = Annotated[
    list[str] | None, typer.Option("--prediction", "-p", metavar="COLUMN", help="Column to fuse, in a search.")
]
FusionName = Annotated[str, typer.Option("--fusion", help="Fusion to search, without a template.")]
Against = Annotated[list[str] | None, typer.Option("--against", metavar="COLUMN", help="Prediction that counts against a row.")]
Group = Annotated[str | None, typer.Option("--group", metavar="COLUMN", help="Column of the list, session or user.")]
Weight = Annotated[str | None, typer.Option("--weight", metavar="COLUMN", help="Column of row weights, in a search.")]
Labels = Annotated[
    str | None, typer.Option("--labels", metavar="TABLE", help="The same rows with labels and group, where TABLE has none.")
]
Trials = Annotated[int, typer.Option("--trials", help="Trials of a search in all; the same command again goes on.")]
Seconds = Annotated[float | None, typer.Option("--seconds", help="Seconds after which a search stops for now.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of a search.")]


def fuse(
    table: Source,
    *,
    out: Out,
    weights: Weights = None,
    column: Column = "score",
    search: Search = None,
    prediction: Prediction = None,
    fusion: FusionName = "weighted_product",
    against: Against = None,
    group: Group = None,
    weight: Weight = None,
    labels: Labels = None,
    trials: Trials = 100,
    seconds: Seconds = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fuse predictions into one score by weights from a file; with --search, find weights on held-out rows with labels."""
    from polytask.fusion import Budget, Fusion
    from polytask.run import SearchRequest, fuse_table

    given: dict[str, Any] = {"--prediction": prediction, "--against": against, "--group": group, "--weight": weight}
    given |= {"--labels": labels, "--seconds": seconds}
    if search and weights:
        _refuse({name: given[name] for name in ("--prediction", "--against")}, "They stand in the template: leave them out.")
    if not search:
        _refuse(given, "They belong to a search: add --search METRIC:COLUMN.")
    template = None if weights is None else Fusion.from_json(weights)
    if search:
        request = SearchRequest(search, prediction or (), fusion, against or (), group, weight, template)
        _search((table, labels), request, Budget(trials, seconds, seed), out, json=json, quiet=quiet)
    elif template is None:
        way_out = "Add --weights fusion.json, or search for them: --search ndcg@10:click."
        raise ConfigError(message("Scores need weights.", received="none", way_out=way_out))
    else:
        rows = fuse_table(table, template, out, column=column)
        if json:
            print_json({"rows": rows, "out": str(out)})
        elif not quiet:
            complain(f"{rows:,} rows in {out}")


def _refuse(given: dict[str, Any], way_out: str) -> None:
    found = [name for name, value in given.items() if value]
    if found:
        raise ConfigError(message("Some options have no use here.", received=", ".join(found), way_out=way_out))


def _search(tables: tuple[str, str | None], request: Any, budget: Any, out: Path, *, json: bool, quiet: bool) -> None:
    from polytask.fusion import fusion_to_json, search_weights
    from polytask.run import read_search

    space, held_out, objectives = read_search(tables[0], request, labels=tables[1])
    with _bar(hidden=json or quiet) as progress:
        found = search_weights(space, held_out, objectives, budget=budget, directory=out, progress=progress)
    names = list(map(str, objectives))
    front = [(trial.number, trial.values, found.fusion(trial).weights) for trial in found.front]
    if json:
        points = [
            {"trial": number, "values": dict(zip(names, values, strict=True)), "weights": own} for number, values, own in front
        ]
        best = {"trial": found.best.number, "fusion": fusion_to_json(found.fusion())}
        print_json({"trials": len(found.trials), "best": best, "front": points})
    elif not quiet:
        _show(names, list(space.predictions), found, front)
        complain(f"weights in {out / 'fusion.json'}, all trials in {out / 'trials.csv'}, a picture in {out / 'front.svg'}")


def _show(objectives: Sequence[str], predictions: Sequence[str], found: Any, front: Sequence[Any]) -> None:
    from polytask.cli._screen import show, table

    first = found.trials[0]
    rows = [
        (f"{number} (best)" if number == found.best.number else str(number), *values, *own.values())
        for number, values, own in front
    ]
    rows.append(("0 (equal shares)", *first.values, *first.weights))
    columns = ["trial", *objectives, *(f"weight {name}" for name in predictions)]
    show(table(f"{len(found.trials):,} trials; no other one beats these in every objective", columns, rows))


@contextmanager
def _bar(*, hidden: bool) -> Iterator[Any]:
    """Progress on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("searching"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[last]}"), console=Console(stderr=True), disable=hidden) as bar:
        task = bar.add_task("searching", total=None, last="")

        def told(done: int, total: int, values: Sequence[float]) -> None:
            bar.update(task, completed=done, total=total, last="  ".join(f"{value:.5g}" for value in values))

        yield told
