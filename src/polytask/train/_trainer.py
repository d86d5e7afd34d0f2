"""The loop around a step: epochs, validation, checkpoints, log, early stopping."""

import itertools
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from polytask.balancers import Balancer
from polytask.batch import Batch
from polytask.callbacks import Callback, JsonLines, Start
from polytask.checkpoint import random_state, set_random_state
from polytask.errors import DataError, DivergenceError, message
from polytask.evaluate import evaluate
from polytask.lock import locked
from polytask.model import MultiTaskModel
from polytask.monitors import Observer, news
from polytask.optimizers import WeightAverage
from polytask.precision import resolve_precision
from polytask.spaces import Joint
from polytask.tasks import Task
from polytask.train._interruption import Interrupted, Watch, watching
from polytask.train._judge import Best, Judge
from polytask.train._keeper import Keeper
from polytask.train._malloc import keep_freed_memory
from polytask.train._meter import Failure, Meter
from polytask.train._plan import Plan, resolve_device
from polytask.train._step import Stateful, Stepping, accumulated_step

_SECONDS_BETWEEN_CHECKPOINTS = 600.0


@runtime_checkable
class Schedule(Stateful, Protocol):
    """What changes the rates after each step."""

    def step(self) -> Any: ...


@runtime_checkable
class Rows(Stateful, Protocol):
    """A loader: one pass is one epoch; it knows its position."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...


class Result(NamedTuple):
    """What a fit came to.

    Args:
        step: Optimizer steps done.
        epoch: Passes over the data done.
        best: The validation whose weights the model now has, or None where there was none.
        best_per_task: The best validation of each served task, where they were kept.
        stopped_early: Whether patience ran out.
        seconds: Time spent in this and the earlier sittings of the run.
    """

    step: int
    epoch: int
    best: Best | None
    best_per_task: dict[str, Best]
    stopped_early: bool
    seconds: float


@dataclass
class _Position:
    step: int = 0
    epoch: int = 0
    exhausted: bool = False
    seconds: float = 0.0
    validation_due: bool = False
    validated: int = -1
    num_records: int = 0
    told: dict[str, float] = field(default_factory=dict)


@final
class Trainer:
    """The loop around `train_step`: epochs, validation, checkpoints, log, early stopping; it adds nothing to a step.

    No step waits for the device: losses are read every `log_every` steps and before each checkpoint (on a processor, where
    there is nothing to wait for, after each step). A loss that is not a number stops the run; no checkpoint ever holds it.

    Args:
        model: Is trained; moved to the plan's device. It ends with the weights of the best validation.
        balancer: Makes one gradient of many losses; moved too.
        optimizer: Holds the parameters of both (`polytask.optimizers.build_optimizer`, or one of torch).
        plan: How long to train, how to judge, what to keep.
        schedule: Is stepped after each optimizer step.
        callbacks: What looks on.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        balancer: Balancer,
        optimizer: Stepping,
        *,
        plan: Plan | None = None,
        schedule: Schedule | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.plan = plan or Plan()
        self.device = resolve_device(self.plan.device)
        self.precision = resolve_precision(self.plan.precision, self.device)
        self.model, self.balancer = model.to(self.device), balancer.to(self.device)
        self.optimizer, self.schedule = optimizer, schedule
        self._given_callbacks = tuple(callbacks)
        self._callbacks: tuple[Callback, ...] = ()
        judged: list[Task | Joint] = [*model.tasks, *model.space.joints()]
        self._judge = Judge(judged, main=self.plan.main, patience=self.plan.patience, per_task=self.plan.best_per_task)
        self._meter, self._position = Meter(), _Position()
        self._watch, self._keeper = Watch(), Keeper(None, {})
        self._clock = self._saved_at = self._logged_at = 0.0
        self._saved_step: int | None = None
        self._average = None if self.plan.average is None else WeightAverage(self.model, decay=self.plan.average)
        if self.plan.compile:
            # Not the encoder: sparse gradients of touched rows are nothing to compile, and break the graph at every batch.
            self.model.sharing.compile()
            self.model.heads.compile()

    def fit(
        self,
        train: Rows,
        valid: Rows | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        identity: Mapping[str, Any] | None = None,
        resume: bool = True,
    ) -> Result:
        """Trains until the plan is fulfilled, patience runs out, or somebody asks to stop.

        Args:
            train: Loader of the training rows.
            valid: Loader of the rows that validations judge; None trains to the end and keeps the last weights.
            directory: Run directory: checkpoints and `metrics.jsonl` go there. None keeps nothing on disk.
            identity: Settings that a checkpoint must share with this run to be taken up, as plain values.
            resume: Whether to take up what an earlier process left in `directory`; otherwise it is deleted.

        Raises:
            DivergenceError: If a loss or a weight is no number; names task and step.
            CheckpointError: If the checkpoint to take up belongs to another run, or cannot be read or written.
            Interrupted: After Ctrl-C or SIGTERM, when everything is saved.
            ConfigError: If another process writes the directory.
        """
        if len(train) == 0:
            raise DataError(message("Training needs at least one batch.", received="a loader without rows"))
        log = [] if directory is None else [JsonLines(Path(directory) / "metrics.jsonl")]
        self._callbacks = (*log, *self._given_callbacks)
        self._keeper = Keeper(directory, {"tasks": [task.name for task in self.model.tasks]} | dict(identity or {}))
        with ExitStack() as stack:
            if directory is not None:
                stack.enter_context(locked(directory))
            self._watch = stack.enter_context(watching(signal.SIGINT, signal.SIGTERM))
            keep_freed_memory()
            self._begin(train, resume=resume)
            for callback in self._callbacks:
                stack.callback(callback.on_end)
                callback.on_start(Start(self._position.step, self._total_steps(train), self._position.num_records))
            self._loop(train, valid)
        return self._result()

    def _begin(self, train: Rows, *, resume: bool) -> None:
        self._keeper.sweep()
        if not resume:
            self._keeper.forget()
        self.model.train()
        self._clock = self._saved_at = self._logged_at = time.monotonic()
        state = self._keeper.read()
        if state is None:
            return
        self.model.load_state_dict(state["raw"] or state["model"])
        for name, part in self._parts(train).items():
            part.load_state_dict(state[name])
        self._position = _Position(**state["position"])
        self._saved_step = self._position.step
        set_random_state(state["random"])
        again = [name for name, best in self._judge.best.items() if best.step == self._position.step]
        self._keeper.name_latest(again, self._served)  # killed between the two, "best" may be an older one

    def _loop(self, train: Rows, valid: Rows | None) -> None:
        if self._position.validation_due:
            self._validate(train, valid)
        if self._position.exhausted and not self._finished():  # saved with the last batches taken and the epoch not yet closed
            self._end_epoch(train, valid)
        while not self._finished():
            self._pass(train, valid)
        if self._position.validated < self._position.step:
            self._validate(train, valid)
        if "best" not in self._judge.best:
            self._keeper.name_latest(["best"], self._served)  # nothing was judged: the last weights are served
        self.model.load_state_dict(self._keeper.weights("best") or self._served())

    def _finished(self) -> bool:
        steps_done = self.plan.max_steps is not None and self._position.step >= self.plan.max_steps
        return self._judge.stop or steps_done or self._position.epoch >= self.plan.epochs

    def _pass(self, train: Rows, valid: Rows | None) -> None:
        batches = iter(train)
        try:
            while not self._position.exhausted:
                group = list(itertools.islice(batches, self.plan.accumulate))
                self._position.exhausted = len(group) < self.plan.accumulate
                if group:
                    self._step(group)
                    self._after_step(train, valid)
                if self._finished():
                    return
        finally:
            close = getattr(batches, "close", None)  # a loader's thread is stopped now, not when memory is collected
            if close is not None:
                close()
        self._end_epoch(train, valid)

    def _end_epoch(self, train: Rows, valid: Rows | None) -> None:
        self._position.epoch, self._position.exhausted = self._position.epoch + 1, False
        self.balancer.after_epoch()
        for callback in self._callbacks:
            callback.on_epoch(self._position.epoch)
        if self.plan.validate_every is None:
            self._validate(train, valid)

    def _step(self, group: Sequence[Batch]) -> None:
        placed = [batch.to(self.device) for batch in group]
        balances = accumulated_step(
            self.model, self.balancer, self.optimizer, placed, precision=self.precision, clip=self.plan.clip
        )
        if self._average is not None:
            self._average.update()
        if self.schedule is not None:
            self.schedule.step()
        self._position.step += 1
        num_rows = sum(batch.num_rows for batch in group)
        self._meter.add(self._position.step, balances, num_rows=num_rows)
        for callback in self._callbacks:
            callback.on_step(self._position.step, balances[-1], num_rows)

    @property
    def _check_each_step(self) -> bool:
        return self.device.type == "cpu"

    def _after_step(self, train: Rows, valid: Rows | None) -> None:
        step, plan = self._position.step, self.plan
        if self._check_each_step:
            self._check_losses()
        if step % plan.log_every == 0:
            self._log_losses()
        if plan.validate_every is not None and step % plan.validate_every == 0:
            self._validate(train, valid)
        late = time.monotonic() - self._saved_at > _SECONDS_BETWEEN_CHECKPOINTS
        if late if plan.checkpoint_every is None else step % plan.checkpoint_every == 0:
            self._save(train)
        if self._watch.signum is not None:
            self._stop(train)

    def _validate(self, train: Rows, valid: Rows | None) -> None:
        self._position.validation_due = True
        if self._meter.num_rows:
            self._log_losses()
        improved = [] if valid is None else self._judge_now(train, valid)
        self._position.validation_due, self._position.validated = False, self._position.step
        self._save(train)
        self._keeper.name_latest(improved, self._served)

    def _judge_now(self, train: Rows, valid: Rows) -> list[str]:
        valid.load_state_dict({"epoch": 0, "row": 0})  # a validation that was broken off would go on in the middle
        observer = Observer(self.model, self.device)
        batches = itertools.takewhile(lambda _: self._watch.signum is None, observer.watched(valid))
        settings: Any = {"device": self.device, "precision": self.precision, "observe": observer.see}
        with nullcontext() if self._average is None else self._average.applied():
            metrics = evaluate(self.model, batches, self.model.tasks, **settings)
            look = observer.look(self.optimizer, hooks=not self.plan.compile)
        if self._watch.signum is not None:
            self._stop(train)  # the validation is due still, and done first after a resume
        improved = self._judge.judge(self._position.step, metrics)
        score = {"score": self._judge.score(metrics), "best": "best" in improved}
        findings, self._position.told = news(look.findings, self._position.told)
        seen = {"metrics": metrics, "gates": look.gates, **look.units, "findings": findings}
        self._record({"kind": "valid", **self._where(), **score, **seen})
        return improved

    def _stop(self, train: Rows) -> None:
        self._save(train)
        where = self._keeper.latest
        raise Interrupted(self._watch.signum or 0, step=self._position.step, saved=None if where is None else str(where))

    def _log_losses(self) -> None:
        self._check_losses()
        now = time.monotonic()
        rate = {"rows": self._meter.num_rows, "rows_per_second": self._meter.num_rows / max(now - self._logged_at, 1e-9)}
        rates = {str(group.get("name", index)): float(group["lr"]) for index, group in enumerate(self.optimizer.param_groups)}
        self._record({"kind": "train", **self._where(), **rate, **self._meter.means(), "lr": rates})
        self._meter.clear()
        self._logged_at = now

    def _where(self) -> dict[str, Any]:
        seconds = self._position.seconds + time.monotonic() - self._clock
        return {"step": self._position.step, "epoch": self._position.epoch, "seconds": round(seconds, 3)}

    def _record(self, record: Mapping[str, Any]) -> None:
        self._position.num_records += 1
        plain = _finite(record)
        for callback in self._callbacks:
            callback.on_record(plain)

    def _check_losses(self) -> None:
        failure = self._meter.first_failure()
        if failure is not None:
            raise self._diverged(failure)

    def _diverged(self, failure: Failure) -> DivergenceError:
        named = ", ".join(f"task {name!r}: {loss}" for name, loss in failure.losses.items())
        latest = self._keeper.latest
        kept = f" The last good checkpoint is {str(latest)!r} of step {self._saved_step}." if self._saved_step is not None else ""
        way_out = "Lower the learning rate, set `clip`, or look for extreme inputs and labels of that task."
        return DivergenceError(
            message(f"Every loss must be a finite number at step {failure.step}.", received=named, way_out=way_out) + kept
        )

    def _save(self, train: Rows) -> None:
        self._saved_at = time.monotonic()
        if self._keeper.latest is None:
            return
        self._check_losses()
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise self._diverged(Failure(self._position.step, {f"weights {name}": math.nan}))
        self._keeper.save(self._state(train))
        self._saved_step = self._position.step

    def _parts(self, train: Rows) -> dict[str, Stateful]:
        parts: dict[str, Stateful] = {"optimizer": self.optimizer, "balancer": self.balancer, "loader": train}
        parts |= {"meter": self._meter, "judge": self._judge}
        optional: dict[str, Stateful | None] = {"schedule": self.schedule, "average": self._average}
        return parts | {name: part for name, part in optional.items() if part is not None}

    def _state(self, train: Rows) -> dict[str, Any]:
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts(train).items()}
        state["model"] = self._served()
        state["raw"] = None if self._average is None else self.model.state_dict()
        state["position"] = asdict(self._position) | {"seconds": self._where()["seconds"]}
        return state | {"random": random_state()}

    def _served(self) -> dict[str, Tensor]:
        """The weights that are judged and served: the averages where there are any."""
        if self._average is None:
            return self.model.state_dict()
        with self._average.applied():
            return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def _total_steps(self, train: Rows) -> int:
        total = self.plan.epochs * math.ceil(len(train) / self.plan.accumulate)
        return total if self.plan.max_steps is None else min(total, self.plan.max_steps)

    def _result(self) -> Result:
        per_task = {name.removeprefix("best-"): best for name, best in self._judge.best.items() if name != "best"}
        position = self._position
        seconds = self._where()["seconds"]
        return Result(position.step, position.epoch, self._judge.best.get("best"), per_task, self._judge.stop, seconds)


def _finite(value: Any) -> Any:
    """The same tree with None for what is no number: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
