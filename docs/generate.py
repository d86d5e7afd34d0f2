"""Writes docs/methods.md from the registries and docstrings; `--check` fails where the page is stale."""

import inspect
import re
import sys
from pathlib import Path

from polytask.balancers import BALANCERS
from polytask.encoders import ENCODERS
from polytask.metrics import METRICS
from polytask.sharing import SHARINGS
from polytask.tasks import TASKS

PAGE = Path(__file__).parent / "methods.md"
FAMILIES = {
    "Tasks": ("kind", TASKS, "What is predicted, on which rows, how it is judged. `[[task]] kind = ...`"),
    "Encoders": ("name", ENCODERS, "From the columns of a table to one representation. `[encoder] name = ...`"),
    "Sharing": ("name", SHARINGS, "One representation in, one per task out. `[sharing] name = ...`"),
    "Balancers": ("name", BALANCERS, "Many losses in, one direction out. `[balancer] name = ...`"),
}
BOUND = {"self", "in_features", "tasks", "preprocessing", "name", "label", "given", "reads", "auxiliary", "weight", "metrics"}


def page() -> str:
    """The whole page."""
    parts = ["# Methods\n\nThis page is generated from the code (`docs/generate.py`); do not edit it.\n"]
    for title, (_, registry, purpose) in FAMILIES.items():
        parts.append(f"## {title}\n\n{purpose}\n")
        parts += [entry(name, method) for name, method in registry.items()]
    parts.append("## Metrics\n\n| name | what it is |\n|---|---|")
    parts += [f"| `{name}` | {metric.description} |" for name, metric in METRICS.items()]
    return "\n".join(parts) + "\n"


def entry(name: str, method: type) -> str:
    """One method: its documentation without the sections that the signature already tells."""
    text = inspect.getdoc(method) or ""
    prose = re.split(r"\n(?:Args|Raises|Example|Examples):\n", text)[0].strip()
    settings = ", ".join(f"`{key} = {value}`" for key, value in arguments(method).items()) or "none"
    return f"### `{name}`\n\n{prose}\n\nSettings: {settings}.\n"


def arguments(method: type) -> dict[str, str]:
    """Settings and their defaults, from the signature; what a task learns of its labels is no setting."""
    fitted = {field.name for field in getattr(method, "__dataclass_fields__", {}).values() if field.metadata.get("fitted")}
    parameters = inspect.signature(method).parameters.values()
    return {
        parameter.name: "..." if parameter.default is parameter.empty else repr(parameter.default)
        for parameter in parameters
        if parameter.name not in BOUND | fitted and parameter.kind is not parameter.VAR_KEYWORD
    }


def main() -> None:
    """Writes or checks the page."""
    text = page()
    if "--check" in sys.argv:
        fresh = PAGE.exists() and PAGE.read_text() == text
        sys.exit(0 if fresh else "docs/methods.md is stale: run ./go python docs/generate.py")
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
