"""What looks on while a model is trained: the log, the progress display, TensorBoard, and whatever a user adds."""

import itertools
import json
import os
import sys
import time
from abc import ABC
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from polytask.balancers import Balance
from polytask.errors import ConfigError, PolytaskError, message


class Start(NamedTuple):
    """Where a fit begins.

    Args:
        step: Optimizer steps done before; 0 unless a run is resumed.
        total_steps: Steps when the fit ends, unless it stops early.
        num_records: Records given before; whatever an earlier sitting logged beyond them will come again.
    """

    step: int
    total_steps: int
    num_records: int = 0


class Callback(ABC):  # noqa: B024 - every hook is optional
    """Base of all that looks on. A callback reads; it does not change the training.

    Example:
        >>> class Mlflow(Callback):  # a run of MLflow, in ten lines
        ...     def __init__(self, run):
        ...         self.run = run
        ...
        ...     def on_record(self, record):
        ...         for name, value in flat_numbers(record):
        ...             self.run.log_metric(name, value, step=record["step"])
    """

    def on_start(self, start: Start) -> None:  # noqa: B027
        """Once, before the first step."""

    def on_step(self, step: int, balance: Balance, num_rows: int) -> None:  # noqa: B027
        """After each step. Reading a tensor of `balance` waits for the device: keep it, and read it in `on_record`."""

    def on_record(self, record: Mapping[str, Any]) -> None:  # noqa: B027
        """Each line of the log, as plain values: kind "train" every `log_every` steps, kind "valid" at validations."""

    def on_epoch(self, epoch: int) -> None:  # noqa: B027
        """After each pass over the data; `epoch` counts those done."""

    def on_end(self) -> None:  # noqa: B027
        """Once, at the end: also after an error or an interruption."""


@final
class JsonLines(Callback):
    """Appends each record to a file as one line of JSON.

    Resumed, it first drops the records made after the checkpoint, so that the file ends up as if nothing had happened.

    Args:
        path: File to append to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._file: FileIO | None = None

    def on_start(self, start: Start) -> None:
        """Drops what will be logged again."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                os.truncate(self._path, _length(self._path, start.num_records))
            self._file = FileIO(self._path, "a")
        except OSError as error:
            raise self._unwritable(error) from error

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Writes one line."""
        if self._file is not None:
            try:
                line = memoryview(json.dumps(record, allow_nan=False).encode() + b"\n")
                while line:  # a disk that is almost full takes a part of it
                    line = line[self._file.write(line) :]
            except OSError as error:
                raise self._unwritable(error) from error

    def on_end(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _unwritable(self, error: OSError) -> PolytaskError:
        way_out = "Free some space or choose a writable directory; what was logged and saved before is untouched."
        return PolytaskError(message(f"Could not write the log {str(self._path)!r}.", received=str(error), way_out=way_out))


@final
class TensorBoard(Callback):
    """Writes each number of each record as a scalar for TensorBoard.

    Args:
        directory: Where the event files go.

    Raises:
        ConfigError: If TensorBoard is not installed.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional dependency
        except ImportError:
            raise ConfigError(
                message(
                    "TensorBoard must be installed.",
                    received="no module 'tensorboard'",
                    way_out="pip install 'polytask[tensorboard]'",
                )
            ) from None
        self._directory = os.fspath(directory)
        self._make = SummaryWriter
        self._writer: Any = None

    def on_start(self, start: Start) -> None:
        """Opens an event file that hides what will be logged again."""
        self._writer = self._make(self._directory, purge_step=start.step + 1 if start.step else None)

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Writes one scalar a number."""
        for name, value in flat_numbers(record):
            self._writer.add_scalar(name, value, record["step"])

    def on_end(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()


@final
class ProgressDisplay(Callback):
    """Shows rows per second, losses and the time left: a bar on a terminal, elsewhere a line now and then.

    Args:
        console: Where to show it; standard error where None.
        every: Seconds between lines where there is no terminal.
    """

    def __init__(self, console: Console | None = None, *, every: float = 30.0) -> None:
        self._console = console or Console(file=sys.stderr)
        self._every = every
        self._last_line = -float("inf")
        self._clock, self._rows, self._step = 0.0, 0, 0
        self._start = Start(0, 0)
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def on_start(self, start: Start) -> None:
        """Draws the bar."""
        self._start, self._step, self._rows, self._clock = start, start.step, 0, time.monotonic()
        if self._console.is_terminal:
            columns = (
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("", total=start.total_steps, completed=start.step)
            self._bar.start()

    def on_step(self, step: int, balance: Balance, num_rows: int) -> None:  # noqa: ARG002
        """Counts; the bar redraws itself a few times a second."""
        self._rows, self._step = self._rows + num_rows, step
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Shows losses, and every validation as a line of its own."""
        rate = self._rows / max(time.monotonic() - self._clock, 1e-9)
        if record["kind"] == "valid":
            self._console.print(f"step {record['step']}  epoch {record['epoch']}  {_validation(record)}", highlight=False)
            for finding in record.get("findings", ()):
                self._console.print(f"  {finding}", highlight=False)
        elif self._bar is not None:
            self._bar.update(self._task, description=f"{rate:,.0f} rows/s  {_losses(record)}")
        elif time.monotonic() - self._last_line >= self._every:
            self._last_line = time.monotonic()
            line = f"step {self._step}/{self._start.total_steps}  {rate:,.0f} rows/s  {_losses(record)}  {self._left()}"
            self._console.print(line, highlight=False)

    def on_end(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _left(self) -> str:
        done = self._step - self._start.step
        seconds = (time.monotonic() - self._clock) / max(done, 1) * (self._start.total_steps - self._step)
        hours, rest = divmod(round(seconds), 3600)
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d} left"


def flat_numbers(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a record with a path for a name; what orders the records (step, epoch) is left out.

    Example:
        >>> list(flat_numbers({"kind": "train", "step": 5, "loss": {"click": 0.3}}))
        [('train/loss/click', 0.3)]
    """
    prefix = prefix or f"{record['kind']}/"
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from flat_numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in {"step", "epoch"}:
            yield f"{prefix}{name}", float(value)


def _losses(record: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {loss:.4g}" for name, loss in record["loss"].items() if loss is not None)


def _validation(record: Mapping[str, Any]) -> str:
    first = [(task, *next(iter(found.items()))) for task, found in record["metrics"].items() if found]
    shown = [f"{task} {name} {value:.5g}" for task, name, value in first if value is not None]
    return "  ".join(shown) + ("  (best so far)" if record["best"] else "")


def _length(path: Path, num_lines: int) -> int:
    """Bytes of the first lines of a file, less one that was cut off while it was written."""
    length = 0
    with path.open("rb") as file:
        for line in itertools.islice(file, num_lines):
            length += len(line) if line.endswith(b"\n") else 0
    return length
