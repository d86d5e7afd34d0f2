"""The trainer is the loop a user would write; what it adds never enters a step."""

import itertools
import json
import math
import os
import signal
import threading

import numpy as np
import pytest
import torch

from polytask import checkpoint
from polytask.balancers import LossBalancer
from polytask.callbacks import Callback
from polytask.errors import CheckpointError, ConfigError, DataError, DivergenceError
from polytask.evaluate import evaluate
from polytask.optimizers import Schedule
from polytask.tasks import Binary
from polytask.train import Interrupted, Plan, Trainer, train_step


class Recorder(Callback):
    """Remembers what it was told, and can do something at a step."""

    def __init__(self, at=None):
        self.records, self.steps, self.epochs, self.ends, self.at = [], [], [], 0, at or {}

    def on_step(self, step, balance, num_rows):
        self.steps.append((step, num_rows))
        if step in self.at:
            self.at[step]()

    def on_record(self, record):
        self.records.append(record)

    def on_epoch(self, epoch):
        self.epochs.append(epoch)

    def on_end(self):
        self.ends += 1


def plan(**options):
    return Plan(device="cpu", **({"epochs": 2} | options))


def records(directory, *, timed=False):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return lines if timed else [{key: line[key] for key in line if key not in {"seconds", "rows_per_second"}} for line in lines]


def test_equals_a_hand_written_loop_bit_for_bit(small):
    rows = small.columns(112)  # every batch has labels of every task; else one line more: an absent task's gradients are None
    model, balancer, optimizer = small.parts()
    torch.manual_seed(5)
    result = Trainer(model, balancer, optimizer, plan=plan(epochs=3)).fit(small.loader(rows))
    other, other_balancer, other_optimizer = small.parts()
    train = small.loader(rows)
    torch.manual_seed(5)
    for _ in range(3):
        for batch in train:
            other_optimizer.zero_grad()
            outputs = other(batch.features)
            other_balancer.backward(other.losses(outputs, batch.labels), junction=outputs.shared)
            other_optimizer.step()
    assert (result.step, result.epoch, result.best) == (21, 3, None)
    assert small.same_weights(model, other)
    assert small.same_weights(balancer, other_balancer)


def test_validation_logging_and_checkpoints_do_not_enter_the_training(small, tmp_path):
    rows, valid = small.columns(100), small.columns(50, seed=1)
    silent, *_ = parts = small.parts()
    torch.manual_seed(5)
    Trainer(*parts, plan=plan()).fit(small.loader(rows))
    looked_at = small.parts()
    torch.manual_seed(5)
    busy = plan(log_every=1, validate_every=2, checkpoint_every=3, best_per_task=True)
    Trainer(*looked_at, plan=busy).fit(small.loader(rows), small.loader(valid, shuffle=False), directory=tmp_path)
    last = checkpoint.load(tmp_path / "checkpoints/latest.safetensors")["model"]
    assert all(torch.equal(value, last[name]) for name, value in silent.state_dict().items())


def test_ends_with_the_weights_of_the_best_validation(small, tmp_path):
    rows, valid = small.columns(200), small.columns(80, seed=1)
    for directory in (None, tmp_path):
        model, *others = small.parts(lr=0.3)  # so high that later epochs are worse
        recorder = Recorder()
        result = Trainer(model, *others, plan=plan(epochs=6), callbacks=[recorder]).fit(
            small.loader(rows), small.loader(valid, shuffle=False), directory=directory
        )
        scores = {record["step"]: record["score"] for record in recorder.records if record["kind"] == "valid"}
        assert result.best.step == max(scores, key=scores.get) != result.step
        assert result.best.score == scores[result.best.step]
        again = evaluate(model, small.loader(valid, shuffle=False), small.tasks)
        assert again == result.best.metrics
    best = checkpoint.load(tmp_path / "checkpoints/best.safetensors")
    assert best["position"]["step"] == result.best.step
    assert all(torch.equal(value, best["model"][name]) for name, value in model.state_dict().items())


def test_the_score_is_the_mean_gain_of_served_tasks_first_metrics(small):
    recorder = Recorder()
    Trainer(*small.parts(), plan=plan(epochs=2), callbacks=[recorder]).fit(
        small.loader(small.columns(64)), small.loader(small.columns(64, seed=1), shuffle=False)
    )
    first, second = [record for record in recorder.records if record["kind"] == "valid"]
    auc, rmse = (
        (first["metrics"][task][name], second["metrics"][task][name]) for task, name in (("click", "auc"), ("time", "rmse"))
    )
    assert first["score"] == 0.0
    assert second["score"] == pytest.approx((math.log((1 - auc[0]) / (1 - auc[1])) + math.log(rmse[0] / rmse[1])) / 2)
    assert "likes" in second["metrics"]  # auxiliary: reported, not judged
    assert 0 <= second["gates"]["entropy/click"] <= 1
    assert second["dead_units"]
    assert second["findings"] == []


def test_patience_stops_early(small):
    recorder = Recorder()
    trainer = Trainer(*small.parts(lr=0.5), plan=plan(epochs=100, patience=2), callbacks=[recorder])
    result = trainer.fit(small.loader(small.columns(64)), small.loader(small.columns(64, seed=1), shuffle=False))
    assert result.stopped_early
    scores = [record["score"] for record in recorder.records if record["kind"] == "valid"]
    best = int(np.argmax(scores))
    assert len(scores) == best + 3 < 100


def test_best_of_each_task_is_kept_when_asked(small, tmp_path):
    train, valid = small.loader(small.columns(200)), small.loader(small.columns(80, seed=1), shuffle=False)
    model, *others = small.parts(lr=0.1)
    result = Trainer(model, *others, plan=plan(epochs=6, best_per_task=True)).fit(train, valid, directory=tmp_path)
    assert sorted(file.name for file in (tmp_path / "checkpoints").iterdir()) == [
        "best-click.safetensors",
        "best-time.safetensors",
        "best.safetensors",
        "latest.safetensors",
    ]
    for name, metric, sign in (("click", "auc", 1), ("time", "rmse", -1)):
        model.load_state_dict(checkpoint.load(tmp_path / f"checkpoints/best-{name}.safetensors", parts=["model"])["model"])
        found = evaluate(model, valid, small.tasks)[name][metric]
        valid.load_state_dict({"epoch": 0, "row": 0})
        assert sign * found == result.best_per_task[name].score
        assert sign * found == max(
            sign * record["metrics"][name][metric] for record in records(tmp_path) if record["kind"] == "valid"
        )


def test_records_say_what_happened(small, tmp_path):
    rows = small.columns(100)
    model, balancer, optimizer = small.parts()
    schedule = Schedule(optimizer, total_steps=14, warmup_steps=3)
    torch.manual_seed(5)
    fitted = Trainer(model, balancer, optimizer, plan=plan(log_every=3), schedule=schedule)
    fitted.fit(small.loader(rows), directory=tmp_path)
    other = small.parts()
    torch.manual_seed(5)
    again = Schedule(other[2], total_steps=14, warmup_steps=3)
    losses = []
    for batch in list(small.loader(rows))[:3]:
        losses.append(train_step(*other, batch).losses["time"].item())
        again.step()
    first, *_ = found = records(tmp_path, timed=True)
    assert [record["step"] for record in found] == [3, 6, 7, 9, 12, 14]  # every third, and what is left at an epoch's end
    assert first["loss"]["time"] == pytest.approx(np.mean(losses))
    assert first["rows"] == 48
    assert set(first["lr"].values()) == {other[2].param_groups[0]["lr"]}
    assert set(first["weight"]) == {"click", "time", "likes"}
    assert [record["epoch"] for record in found] == [0, 0, 1, 1, 1, 2]


def test_accumulation_steps_once_for_several_batches(small):
    recorder = Recorder()
    Trainer(*small.parts(), plan=plan(accumulate=3), callbacks=[recorder]).fit(small.loader(small.columns(100)))
    assert recorder.steps == [(1, 48), (2, 48), (3, 4), (4, 48), (5, 48), (6, 4)]
    assert recorder.epochs == [1, 2]
    assert recorder.ends == 1


def test_max_steps_ends_inside_an_epoch(small, tmp_path):
    valid = small.loader(small.columns(30, seed=1), shuffle=False)
    result = Trainer(*small.parts(), plan=plan(epochs=9, max_steps=10)).fit(
        small.loader(small.columns(100)), valid, directory=tmp_path
    )
    assert (result.step, result.epoch) == (10, 1)
    assert [record["step"] for record in records(tmp_path) if record["kind"] == "valid"] == [7, 10]


def test_averaged_weights_are_validated_kept_and_left_in_the_model(small, tmp_path):
    valid = small.loader(small.columns(80, seed=1), shuffle=False)
    model, *others = small.parts(lr=0.05)
    result = Trainer(model, *others, plan=plan(average=0.9)).fit(small.loader(small.columns(200)), valid, directory=tmp_path)
    valid.load_state_dict({"epoch": 0, "row": 0})
    assert evaluate(model, valid, small.tasks) == result.best.metrics
    latest = checkpoint.load(tmp_path / "checkpoints/latest.safetensors")
    assert not any(torch.equal(latest["model"][name], value) for name, value in latest["raw"].items())


class Poisoned(LossBalancer):
    """One task's loss is no number from some call on."""

    def __init__(self, tasks, at):
        super().__init__(tasks)
        self.calls, self.at = 0, at

    def objective(self, losses, names):
        return losses.sum()

    def backward(self, losses, shared=(), junction=(), penalty=None):
        self.calls += 1
        if self.calls == self.at:
            losses = dict(losses) | {"time": losses["time"] * math.nan}
        return super().backward(losses, shared, junction)


@pytest.mark.parametrize("log_every", [1, 4])
def test_a_loss_that_is_no_number_is_named_and_the_good_checkpoint_kept(small, tmp_path, log_every, monkeypatch):
    monkeypatch.setattr(Trainer, "_check_each_step", property(lambda self: log_every == 1))  # as on a GPU, where nobody waits
    model, _, optimizer = small.parts()
    trainer = Trainer(
        model, Poisoned([task.name for task in small.tasks], 6), optimizer, plan=plan(log_every=log_every, checkpoint_every=2)
    )
    with pytest.raises(DivergenceError, match=r"step 6.*task 'time': nan.*latest\.safetensors'.*step 4"):
        trainer.fit(small.loader(small.columns(200)), directory=tmp_path)
    saved = checkpoint.load(tmp_path / "checkpoints/latest.safetensors")
    assert saved["position"]["step"] == 4
    assert all(torch.isfinite(value).all() for value in saved["model"].values())


def test_weights_that_are_no_numbers_are_never_saved(small, tmp_path):
    model, balancer, optimizer = small.parts()

    def spoil():
        with torch.no_grad():
            next(model.parameters())[0] = math.inf

    trainer = Trainer(model, balancer, optimizer, plan=plan(checkpoint_every=2), callbacks=[Recorder({4: spoil})])
    with pytest.raises(DivergenceError, match=r"step 4.*encoders.0.linear.weight"):
        trainer.fit(small.loader(small.columns(200)), directory=tmp_path)
    assert checkpoint.load(tmp_path / "checkpoints/latest.safetensors")["position"]["step"] == 2


def test_no_step_waits_for_the_device(small, monkeypatch):
    """Nothing between two records reads a number of a tensor on the host."""
    monkeypatch.setattr(Trainer, "_check_each_step", property(lambda self: False))  # as on a GPU
    reads = []
    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__"):
        original = getattr(torch.Tensor, name)
        spy = lambda tensor, *rest, name=name, original=original: reads.append(name) or original(tensor, *rest)  # noqa: E731
        monkeypatch.setattr(torch.Tensor, name, spy)
    at_step = []
    recorder = Recorder({step: lambda: at_step.append(len(reads)) for step in range(1, 15)})
    model, balancer, optimizer = small.parts()
    options = plan(log_every=5, clip=1.0, average=0.9)
    Trainer(model, balancer, optimizer, plan=options, callbacks=[recorder]).fit(small.loader(small.columns(112), prefetch=0))
    waited = [step for step, (before, after) in enumerate(itertools.pairwise([0, *at_step]), start=1) if after > before]
    assert waited == [6, 8, 11]  # the first steps after a record: of every fifth step, and of the epoch's end


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("during", ["step", "validation"])
def test_an_interruption_saves_and_the_resumed_run_is_the_same(small, tmp_path, signum, code, during):
    rows, valid = small.columns(100), small.columns(60, seed=1)

    def fit(directory, at=None):
        model, balancer, optimizer = small.parts()
        torch.manual_seed(5)
        trainer = Trainer(model, balancer, optimizer, plan=plan(log_every=3, validate_every=4), callbacks=[Recorder(at)])
        shown = small.loader(valid, shuffle=False)
        if at and during == "validation":
            shown = Raising(shown, at[6])
        trainer.fit(small.loader(rows), shown, directory=directory)
        return model

    straight = fit(tmp_path / "straight")
    with pytest.raises(Interrupted, match=r"after step \d+\. Saved in .*latest\.safetensors'") as stopped:
        fit(tmp_path / "stopped", {6: lambda: os.kill(os.getpid(), signum)})
    assert stopped.value.exit_code == code
    assert signal.getsignal(signum) in {signal.SIG_DFL, signal.default_int_handler}
    assert small.same_weights(straight, fit(tmp_path / "stopped"))
    assert records(tmp_path / "stopped") == records(tmp_path / "straight")
    assert_same_checkpoints(tmp_path / "straight", tmp_path / "stopped")


class Raising:
    """A validation loader in whose second batch somebody presses Ctrl-C."""

    def __init__(self, loader, press):
        self.loader, self.press = loader, press

    def __iter__(self):
        for number, batch in enumerate(self.loader):
            if number == 1:
                self.press()
            yield batch

    def __len__(self):
        return len(self.loader)

    def state_dict(self):
        return self.loader.state_dict()

    def load_state_dict(self, state):
        self.loader.load_state_dict(state)


def assert_same_checkpoints(one, other):
    names = sorted(file.name for file in (one / "checkpoints").iterdir())
    assert names == sorted(file.name for file in (other / "checkpoints").iterdir())
    for name in names:
        left, right = (checkpoint.load(folder / "checkpoints" / name) for folder in (one, other))
        for state in (left, right):
            del state["position"]["seconds"], state["random"]["python"]  # the checks of shapes draw from Python's generator
        assert differences(left, right) == [], name


def differences(one, other, place=""):
    """Places at which two states differ; NaN is as good as NaN."""
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [place]
    if isinstance(one, dict) and one.keys() == other.keys():
        return [found for key in one for found in differences(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, list | tuple) and len(one) == len(other):
        return [found for key, (a, b) in enumerate(zip(one, other, strict=True)) for found in differences(a, b, f"{place}/{key}")]
    return [] if one == other or (one != one and other != other) else [place]


@pytest.mark.parametrize("options", [{"accumulate": 3}, {"average": 0.9}, {"log_every": 2}])
def test_resumed_at_every_step_is_bit_for_bit_the_same(small, tmp_path, options):
    """Stops after each single step, a new process' worth of objects each time."""
    rows, valid = small.columns(100), small.columns(40, seed=1)

    def fit(directory, callbacks=()):
        model, balancer, optimizer = small.parts()
        torch.manual_seed(np.random.default_rng().integers(1 << 30) if (directory / "checkpoints").exists() else 5)
        schedule = Schedule(optimizer, total_steps=14, warmup_steps=3)
        trainer = Trainer(model, balancer, optimizer, plan=plan(**options), schedule=schedule, callbacks=callbacks)
        trainer.fit(small.loader(rows), small.loader(valid, shuffle=False), directory=directory)
        return model

    straight = fit(tmp_path / "straight")
    press = {step: lambda: os.kill(os.getpid(), signal.SIGINT) for step in range(1, 30)}
    stops = 0
    while True:
        try:
            resumed = fit(tmp_path / "stopped", [Recorder(press)])
            break
        except Interrupted:
            stops += 1
    assert stops == (6 if "accumulate" in options else 14)
    assert small.same_weights(straight, resumed)
    assert records(tmp_path / "stopped") == records(tmp_path / "straight")
    assert_same_checkpoints(tmp_path / "straight", tmp_path / "stopped")


class CrashError(Exception):
    pass


@pytest.mark.parametrize("checkpoint_every", [1, 3])
def test_crashed_at_every_record_the_log_is_that_of_one_run(small, tmp_path, checkpoint_every):
    """Each sitting dies right after one more record was written, before the checkpoint that follows."""
    rows, valid = small.columns(100), small.columns(40, seed=1)

    class Crashing(Callback):
        def __init__(self, sitting):
            self.left = sitting

        def on_start(self, start):
            self.left -= start.num_records

        def on_record(self, record):
            self.left -= 1
            if self.left == 0:
                raise CrashError

    def fit(directory, sitting=0):
        model, balancer, optimizer = small.parts()
        torch.manual_seed(5)
        options = plan(log_every=2, checkpoint_every=checkpoint_every, validate_every=3)
        trainer = Trainer(model, balancer, optimizer, plan=options, callbacks=[Crashing(sitting)])
        trainer.fit(small.loader(rows), small.loader(valid, shuffle=False), directory=directory)

    fit(tmp_path / "straight")
    expected = records(tmp_path / "straight")
    for sitting in range(1, len(expected) + 1):
        with pytest.raises(CrashError):
            fit(tmp_path / "crashed", sitting)
    fit(tmp_path / "crashed")
    assert records(tmp_path / "crashed") == expected
    assert_same_checkpoints(tmp_path / "straight", tmp_path / "crashed")


def test_a_finished_run_is_only_read(small, tmp_path):
    rows, valid = small.columns(100), small.columns(40, seed=1)

    def fit():
        model, *others = small.parts()
        recorder = Recorder()
        trainer = Trainer(model, *others, plan=plan(), callbacks=[recorder])
        return model, recorder, trainer.fit(small.loader(rows), small.loader(valid, shuffle=False), directory=tmp_path)

    model, _, result = fit()
    log = (tmp_path / "metrics.jsonl").read_bytes()
    again, recorder, second = fit()
    assert recorder.steps == []
    assert recorder.ends == 1
    assert small.same_weights(model, again)
    assert second.best == result.best
    assert (tmp_path / "metrics.jsonl").read_bytes() == log


def test_another_configuration_is_refused_and_named(small, tmp_path):
    rows = small.columns(64)
    Trainer(*small.parts(), plan=plan()).fit(
        small.loader(rows), directory=tmp_path, identity={"balancer": {"name": "equal"}, "lr": 0.1}
    )
    with pytest.raises(CheckpointError, match=r"balancer\.name: 'equal' there, 'fixed' here(?!.*lr)"):
        Trainer(*small.parts(), plan=plan()).fit(
            small.loader(rows), directory=tmp_path, identity={"balancer": {"name": "fixed"}, "lr": 0.1}
        )
    fresh = Trainer(*small.parts(), plan=plan())
    assert fresh.fit(small.loader(rows), directory=tmp_path, identity={"lr": 0.2}, resume=False).step == 8


def test_two_writers_of_one_directory(small, tmp_path):
    train = small.loader(small.columns(64))
    recorder = Recorder({2: lambda: other_process(tmp_path)})
    refused = []

    def other_process(directory):
        child = os.fork()
        if child == 0:
            try:
                Trainer(*small.parts(), plan=plan()).fit(small.loader(small.columns(64)), directory=directory)
            except ConfigError as error:
                os._exit(7 if f"process {os.getppid()} on " in str(error) else 8)
            os._exit(9)
        refused.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    Trainer(*small.parts(), plan=plan(), callbacks=[recorder]).fit(train, directory=tmp_path)
    assert refused == [7]


def test_a_task_without_any_label_all_along(small, tmp_path):
    """Never trained, never judged; the others are."""
    rows, valid = small.columns(64), small.columns(64, seed=1)
    for part in (rows, valid):
        part.labels["time"][:] = np.nan
    model, balancer, optimizer = small.parts()
    before = balancer.log_variance("time").detach().clone()
    result = Trainer(model, balancer, optimizer, plan=plan()).fit(
        small.loader(rows), small.loader(valid, shuffle=False), directory=tmp_path
    )
    assert torch.equal(before, balancer.log_variance("time"))
    assert set(result.best.metrics) == {"click", "likes"}
    assert math.isfinite(result.best.score)


def test_trains_outside_the_main_thread(small):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(Trainer(*small.parts(), plan=plan()).fit(small.loader(small.columns(64))))
    )
    thread.start()
    thread.join()
    assert results[0].step == 8


def test_bf16_trains_where_it_is_native(small):
    from polytask.precision import has_bf16

    if not has_bf16("cpu"):
        pytest.skip("this processor only emulates bfloat16")
    recorder = Recorder()
    Trainer(*small.parts(), plan=plan(precision="bf16", epochs=8, log_every=10), callbacks=[recorder]).fit(
        small.loader(small.columns(200)), small.loader(small.columns(200, seed=1), shuffle=False)
    )
    assert [record for record in recorder.records if record["kind"] == "valid"][-1]["metrics"]["click"]["auc"] > 0.8


def test_learns(small):
    """The labels follow from the inputs; an untrained model would be at 0.5 and 1."""
    result = Trainer(*small.parts(), plan=plan(epochs=12)).fit(
        small.loader(small.columns(600), batch_size=50), small.loader(small.columns(300, seed=1), batch_size=300, shuffle=False)
    )
    assert result.best.metrics["click"]["auc"] > 0.8
    assert result.best.metrics["time"]["r2"] > 0.6


def test_mistakes_are_named(small):
    with pytest.raises(DataError, match="at least one batch"):
        Trainer(*small.parts(), plan=plan()).fit(small.loader(small.columns(0)))
    with pytest.raises(ConfigError, match=r"'clik\.auc'.*Did you mean 'click'"):
        Trainer(*small.parts(), plan=plan(main="clik.auc"))
    with pytest.raises(ConfigError, match=r"'click'.*'click\.rmse'.*Valid"):
        Trainer(*small.parts(), plan=plan(main="click.rmse"))
    parts = small.parts(tasks=(Binary("click", metrics=("calibration_ratio",)),))
    with pytest.raises(ConfigError, match=r"lies between.*calibration_ratio"):
        Trainer(*parts, plan=plan())


def planted(small, **options):
    """Parts whose first expert is dead and stays so."""
    model, balancer, optimizer = small.parts(lr=1e-3, **options)
    with torch.no_grad():
        model.sharing.levels[0].steps()[-1].bias[0] = -1e6
    return model, balancer, optimizer


def test_a_finding_is_said_once_also_over_a_resume(small, tmp_path):
    rows, valid = small.columns(64), small.columns(300, seed=1)

    def fit(parts, **options):
        held_out = small.loader(valid, shuffle=False, batch_size=300)
        return Trainer(*parts, plan=plan(**options)).fit(small.loader(rows), held_out, directory=tmp_path)

    fit(planted(small), epochs=3)
    fit(planted(small), epochs=5)  # goes on with the checkpoint
    found = [record["findings"] for record in records(tmp_path) if record["kind"] == "valid"]
    assert len(found) == 5
    assert len(found[0]) == 1
    assert found[0][0].startswith("Expert collapse: 100% of what expert 0 of 'sharing.levels.0' gives is 0")
    assert found[1:] == [[]] * 4
    zeros = [record["expert_zeros"]["sharing.levels.0/0"] for record in records(tmp_path) if record["kind"] == "valid"]
    assert zeros == [1.0] * 5
