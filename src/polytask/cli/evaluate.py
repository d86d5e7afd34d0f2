"""`polytask evaluate`: metrics of a trained run on a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from polytask.cli._verb import Directory, Json, complain, print_json

Source = Annotated[
    str | None, typer.Argument(metavar="[TABLE]", help="Table with labels; the run's own test rows where not given.")
]
Checkpoint = Annotated[str, typer.Option("--checkpoint", help="Which checkpoint: best, latest, best-TASK.")]
By = Annotated[
    str | None,
    typer.Option("--calibration-by", metavar="COLUMN", help="Predicted over observed in each slice of a column of the table."),
]
Diagram = Annotated[
    Path | None, typer.Option("--reliability", metavar="FILE.svg", help="Draw reliability diagrams of all binary predictions.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, mps, or auto: the fastest at hand.")]


def evaluate(
    directory: Directory,
    table: Source = None,
    *,
    by: By = None,
    diagram: Diagram = None,
    checkpoint: Checkpoint = "best",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Judge a trained run: metrics of each task on its own sample space, what the gates do, what position does to labels."""
    from polytask.cli._screen import metrics_table, show
    from polytask.run import evaluate as evaluate_run

    evaluation = evaluate_run(directory, table, checkpoint=checkpoint, device=device, by=by)
    if diagram is not None:
        _draw(diagram, evaluation.diagrams)
    if json:
        print_json(evaluation.report())
        return
    show(metrics_table(evaluation.metrics, title=f"{directory} on {evaluation.rows:,} rows of {evaluation.source}"))
    if evaluation.uncalibrated:
        show("", metrics_table(evaluation.uncalibrated, title="before calibration"))
    for task, rows in evaluation.slices.items():
        show("", _slices_table(f"calibration of {task} by {by}", rows))
    if evaluation.gates:
        show("", _gates_table(evaluation.gates))
    for task in dict.fromkeys(line["task"] for line in evaluation.bias):
        show("", _bias_table(task, [line for line in evaluation.bias if line["task"] == task]))
    if evaluation.findings:
        show("", *evaluation.findings)


def _bias_table(task: str, lines: Sequence[Mapping[str, Any]]) -> Any:
    """Examination, relative to the first position: a line a position, a column a device."""
    from polytask.cli._screen import table

    position, *others = [name for name in lines[0] if name not in ("task", "logit", "examination")]
    found = {(line[position], tuple(line[name] for name in others)): line["examination"] for line in lines}
    devices = list(dict.fromkeys(device for _, device in found))
    places = list(dict.fromkeys(place for place, _ in found))
    columns = [position, *(" ".join(map(str, device)) or "examination" for device in devices)]
    rows = [[place, *(found[place, device] for device in devices)] for place in places]
    return table(f"examination, {task}", columns, rows)


def _slices_table(title: str, rows: Sequence[Any]) -> Any:
    """One line a slice; a mark where the interval leaves out 1."""
    from polytask.cli._screen import table

    columns = ["slice", "rows", "observed", "predicted", "ratio", "low", "high", "off"]
    return table(title, columns, [[*row, "off" if row.off else ""] for row in rows])


def _draw(file: Path, diagrams: Mapping[str, Any]) -> None:
    """Writes the drawing, whole or not at all."""
    from polytask.calibration import reliability_svg
    from polytask.errors import DataError, message
    from polytask.files import replacing

    try:
        with replacing(file) as scratch:
            scratch.write_text(reliability_svg(diagrams), encoding="utf-8")
    except OSError as error:
        raise DataError(
            message(f"{str(file)!r} must be writable.", received=str(error), way_out="Choose another place.")
        ) from error
    complain(f"diagrams of {len(diagrams)} predictions in {file}")


def _gates_table(gates: Mapping[str, float]) -> Any:
    """One line a task: how sharply it chooses, how far it is from each other task, how much it takes of each expert."""
    from polytask.cli._screen import table

    tasks = [name.partition("/")[2] for name in gates if name.startswith("entropy/")]
    experts = [name.rpartition("/")[2] for name in gates if name.startswith(f"use/{tasks[0]}/")]
    rows = []
    for task in tasks:
        apart = [gates.get(f"kl/{task}/{other}", gates.get(f"kl/{other}/{task}")) for other in tasks]
        rows.append([task, gates[f"entropy/{task}"], *apart, *(gates.get(f"use/{task}/{expert}") for expert in experts)])
    columns = ["gate", "entropy", *(f"KL to {task}" for task in tasks), *(f"expert {expert}" for expert in experts)]
    return table("gates", columns, rows)
