"""`polytask evaluate`: metrics of a trained run on a table."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from polytask.cli._verb import Directory, Json, print_json

Source = Annotated[
    str | None, typer.Argument(metavar="[TABLE]", help="Table with labels; the run's own test rows where not given.")
]
Checkpoint = Annotated[str, typer.Option("--checkpoint", help="Which checkpoint: best, latest, best-TASK.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, mps, or auto: the fastest at hand.")]


def evaluate(
    directory: Directory, table: Source = None, *, checkpoint: Checkpoint = "best", device: Device = "auto", json: Json = False
) -> None:
    """Judge a trained run: metrics of each task on its own sample space, and what the gates do."""
    from polytask.cli._screen import metrics_table, show
    from polytask.run import evaluate as evaluate_run

    evaluation = evaluate_run(directory, table, checkpoint=checkpoint, device=device)
    if json:
        print_json(evaluation.report())
        return
    show(metrics_table(evaluation.metrics, title=f"{directory} on {evaluation.rows:,} rows of {evaluation.source}"))
    if evaluation.gates:
        show("", _gates_table(evaluation.gates))
    if evaluation.findings:
        show("", *evaluation.findings)


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
