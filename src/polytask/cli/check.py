"""`polytask check`: reads and binds everything, trains nothing."""

from typing import Any

from polytask.cli._verb import Config, Json, Quiet, Settings, complain, print_json


def check(config: Config, *, settings: Settings = None, json: Json = False, quiet: Quiet = False) -> None:
    """Read and bind everything, train nothing: tasks with their labels, features, the model, warnings."""
    from polytask.config import read_config
    from polytask.run import check as run_check

    declared = read_config(config, settings or ())
    for note in declared.notes:
        complain(note)
    findings = run_check(declared)
    if json:
        print_json(findings)
    elif not quiet:
        _print(findings)
    for warning in findings["warnings"]:
        if not json:
            complain(f"warning: {warning}")


def _print(findings: dict[str, Any]) -> None:
    from polytask.cli._screen import show, table

    show("  ".join(f"{part} {rows:,} rows" for part, rows in findings["rows"].items()), "")
    for name in ("tasks", "features", "model"):
        lines = findings[name]
        title = name if name == "model" else f"{len(lines)} {name}"
        show(table(title, list(lines[0]) if lines else [], [list(line.values()) for line in lines]), "")
