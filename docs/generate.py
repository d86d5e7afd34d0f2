"""Writes docs/methods.md from the registries and docstrings; `--check` fails where the page is stale."""

import inspect
import re
import sys
from collections import Counter
from pathlib import Path

import torch

from polytask.balancers import BALANCERS
from polytask.batch import Labels
from polytask.biases import BIASES
from polytask.calibration import CALIBRATIONS
from polytask.encoders import ENCODERS
from polytask.fusion import FUSIONS
from polytask.metrics import METRICS
from polytask.policies import ESTIMATORS
from polytask.sharing import SHARINGS, Sharing
from polytask.spaces import SPACES, Space
from polytask.tasks import TASKS, Binary

PAGE = Path(__file__).parent / "methods.md"
FAMILIES = {
    "Tasks": ("kind", TASKS, "What is predicted, on which rows, how it is judged. `[[task]] kind = ...`"),
    "Encoders": ("name", ENCODERS, "From the columns of a table to one representation. `[encoder] name = ...`"),
    "Sharing": ("name", SHARINGS, "One representation in, one per task out. `[sharing] name = ...`"),
    "Spaces": ("name", SPACES, "How rows outside of a task's sample space (`given`) are treated. `[space] name = ...`"),
    "Biases": ("name", BIASES, "What position and device do to labels, kept from the model. `[bias] name = ...`"),
    "Balancers": ("name", BALANCERS, "Many losses in, one direction out. `[balancer] name = ...`"),
    "Calibration": (
        "name",
        CALIBRATIONS,
        "Predicted probabilities that come true as often as they say. `[calibration] name = ...`",
    ),
    "Fusion": ("name", FUSIONS, 'One score from many predictions, by weights that are data. `"name": ...` in a file of weights'),
    "Policies": ("name", ESTIMATORS, "What another policy would have earned, from a log with propensities. `polytask.policies`"),
}
NUM_ROWS, NUM_TASKS, WIDTH = 7, 5, 13  # what shapes are read from: sizes that no default has
BOUND = {"self", "in_features", "tasks", "preprocessing", "name", "label", "given", "reads", "auxiliary", "weight", "metrics"}


def page() -> str:
    """The whole page."""
    parts = ["# Methods\n\nThis page is generated from the code (`docs/generate.py`); do not edit it.\n"]
    for title, (_, registry, purpose) in FAMILIES.items():
        parts.append(f"## {title}\n\n{purpose}\n")
        parts += [sharing_table()] if registry is SHARINGS else []
        parts += [spaces_table()] if registry is SPACES else []
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


def sharing_table() -> str:
    """All ways of sharing at a glance: parts of their docstrings, and the junction that a forward pass shows."""
    rows = [
        "What each is for, what it costs and where tasks part, at default sizes: `n` rows, `k` tasks, `d` input width, `h` "
        "output width, `e` experts. Ideas and pictures: [hard](sharing/hard.md), [soft](sharing/soft.md), "
        "[mixtures](sharing/mixtures.md), [routing](sharing/routing.md).\n",
        "| method | source | junction | cost | when to use | when not |",
        "|---|---|---|---|---|---|",
    ]
    for name, method in SHARINGS.items():
        said = parts_of(method)
        cells = (f"[`{name}`](#{name})", said["source"], junction(method), said["cost"], said["prefer"], said["not"])
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def spaces_table() -> str:
    """All spaces at a glance: parts of their docstrings, and what a batch without a click shows."""
    rows = [
        "What each is for, the heads it adds to `buy` given `click`, and whether a batch without a click trains p(buy | click). "
        "The idea behind them: [spaces](spaces.md).\n",
        "| method | source | heads | trained without a click | cost | when to use | when not |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, method in SPACES.items():
        said = parts_of(method)
        cells = (f"[`{name}`](#{name})", said["source"], *shown_by(method), said["cost"], said["prefer"], said["not"])
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def shown_by(method: type[Space]) -> tuple[str, str]:
    """Names of the heads that a space adds, and whether rows that were not clicked train what is behind a click."""
    needed = {"actions": {"buy": ["cart"]}} if "actions" in arguments(method) else {}
    space = method([Binary("click"), Binary("cart", given="click"), Binary("buy", given="click")], **needed)
    heads = [f"`{task.name}`" for task in space.tasks[3:] if task.name.startswith("buy")]
    outputs = {task.name: torch.zeros(NUM_ROWS, 1, requires_grad=True) for task in space.tasks}
    nothing = Labels.of(torch.full((NUM_ROWS,), torch.nan))
    losses = space.losses(outputs, {"click": Labels.of(torch.zeros(NUM_ROWS)), "cart": nothing, "buy": nothing})
    return ", ".join(heads) or "none", "yes" if "buy" in losses else "no"


def parts_of(method: type) -> dict[str, str]:
    """First statements of a docstring's parts: "source", "cost", "prefer" and "not"; empty where it has none."""
    prose = re.split(r"\n(?:Args|Raises|Example|Examples):\n", inspect.getdoc(method) or "")[0]
    paragraphs = [" ".join(paragraph.split()) for paragraph in prose.split("\n\n")]
    found = dict.fromkeys(("source", "cost", "prefer", "not"), "")
    for paragraph in paragraphs:
        if paragraph.startswith("Prefer it"):
            # "Not ..." is a sentence of its own.
            wanted, _, unwanted = paragraph.removeprefix("Prefer it").strip().partition(" Not ")
            found |= {"prefer": statement(wanted), "not": statement(unwanted)}
        for part in ("source", "cost"):
            if paragraph.startswith(f"{part.capitalize()}:"):
                found[part] = statement(paragraph.partition(":")[2].strip())
    return found


def statement(text: str) -> str:
    """What a text says first: up to a full stop, colon or semicolon that is in no quotation, code or brackets."""
    masked = re.sub(r'"[^"]*"|`[^`]*`|\([^()]*\)|\bal\.', lambda inside: "_" * len(inside[0]), text)
    end = re.search(r"[.:;](?=\s|$)", masked)
    return text[: end.start()] if end else text


def junction(method: type[Sharing]) -> str:
    """Shapes of the places where tasks part, in the letters of the family."""
    sharing = method(WIDTH, [f"t{k}" for k in range(NUM_TASKS)])
    shape = (NUM_ROWS, WIDTH) if sharing.num_inputs == 1 else (sharing.num_inputs, NUM_ROWS, WIDTH)
    with torch.no_grad():
        shared = sharing.eval()(torch.zeros(shape))
    letters = {NUM_ROWS: "n", NUM_TASKS: "k", WIDTH: "d", sharing.out_features: "h"}
    if shared.gates is not None:
        letters = {shared.gates.shape[-1]: "e", **letters}
    places = Counter(" ".join(letters.get(size, str(size)) for size in place.shape) for place in shared.junction)
    shown = [f"`{place}`" + (f" x {times}" if times > 1 else "") for place, times in places.items()]
    return ", ".join(shown) or "none"


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
