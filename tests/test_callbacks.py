"""The log is what an uninterrupted run would have written; progress is quiet where nobody looks; others may look on."""

import io
import json
import resource
import sys

import pytest
import torch
from rich.console import Console

from polytask.balancers import Balance
from polytask.callbacks import Callback, JsonLines, ProgressDisplay, Start, TensorBoard, flat_numbers
from polytask.errors import ConfigError, PolytaskError

BALANCE = Balance({"click": torch.tensor(0.5)}, {"click": torch.tensor(1.0)})


def train_record(step, loss=0.5):
    return {"kind": "train", "step": step, "epoch": 0, "seconds": 1.5, "loss": {"click": loss}, "lr": {"shared": 0.1}}


def valid_record(step, *, best=True):
    metrics = {"click": {"auc": 0.75, "log_loss": 0.4}, "time": {"rmse": None}}
    return {
        "kind": "valid",
        "step": step,
        "epoch": 1,
        "score": 0.75,
        "best": best,
        "metrics": metrics,
        "findings": ["a layer is dead"],
    }


def log(file, num_records, *records):
    lines = JsonLines(file)
    lines.on_start(Start(7, 100, num_records))
    for record in records:
        lines.on_record(record)
    lines.on_end()


def steps(file):
    return [json.loads(line)["step"] for line in file.read_text().splitlines()]


def test_a_resumed_log_goes_on_after_the_checkpoint(tmp_path):
    file = tmp_path / "run" / "metrics.jsonl"
    log(file, 0, train_record(10), valid_record(10), train_record(20), train_record(30))
    log(file, 3, train_record(30, 0.25))
    assert steps(file) == [10, 10, 20, 30]
    assert json.loads(file.read_text().splitlines()[-1])["loss"] == {"click": 0.25}


def test_a_line_that_was_cut_off_is_dropped(tmp_path):
    file = tmp_path / "metrics.jsonl"
    log(file, 0, train_record(10), train_record(20))
    for cut in (1, 30):  # the end of the line only; half of it
        content = file.read_bytes()
        file.write_bytes(content[:-cut])
        log(file, 2, train_record(30))
        assert steps(file) == [10, 30]
        log(file, 1, train_record(20))


def test_a_fresh_run_starts_an_empty_log(tmp_path):
    file = tmp_path / "metrics.jsonl"
    log(file, 0, train_record(10))
    log(file, 0, train_record(5))
    assert steps(file) == [5]


def test_each_record_is_on_the_disk_at_once(tmp_path):
    lines = JsonLines(tmp_path / "a")
    lines.on_start(Start(0, 10))
    lines.on_record(train_record(1))
    assert steps(tmp_path / "a") == [1]
    lines.on_end()
    lines.on_end()


def test_a_log_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PolytaskError, match=r"Could not write the log.*metrics\.jsonl'.*writable"):
        JsonLines(tmp_path / "file" / "metrics.jsonl").on_start(Start(0, 10))


def test_a_full_disk_says_so_and_keeps_what_was_logged(tmp_path):
    log(tmp_path / "a", 0, train_record(1))
    lines = JsonLines(tmp_path / "a")
    lines.on_start(Start(1, 10, 1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "a").stat().st_size + 10, hard))
    try:
        with pytest.raises(PolytaskError, match=r"Could not write the log.*File too large.*untouched"):
            lines.on_record(train_record(2))
        lines.on_end()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log(tmp_path / "a", 1, train_record(2))
    assert steps(tmp_path / "a") == [1, 2]


def test_numbers_by_path():
    assert dict(flat_numbers(valid_record(7))) == {
        "valid/score": 0.75,
        "valid/metrics/click/auc": 0.75,
        "valid/metrics/click/log_loss": 0.4,
    }


def test_tensorboard_hides_what_is_logged_again(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, shown in ((0, [(10, 0.5), (20, 0.5), (30, 0.5)]), (20, [(30, 0.25)])):
        board = TensorBoard(tmp_path)
        board.on_start(Start(start, 100))
        for step, loss in shown:
            board.on_record(train_record(step, loss))
        board.on_end()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss/click")] == [(10, 0.5), (20, 0.5), (30, 0.25)]


def test_without_tensorboard_the_way_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"pip install 'polytask\[tensorboard\]'"):
        TensorBoard(tmp_path)


def shown(*, terminal, every=0.0):
    stream = io.StringIO()
    display = ProgressDisplay(Console(file=stream, force_terminal=terminal, width=200), every=every)
    display.on_start(Start(10, 40))
    for step in range(11, 31):
        display.on_step(step, BALANCE, 512)
    display.on_record(train_record(30))
    display.on_record(valid_record(30))
    display.on_end()
    return stream.getvalue()


def test_progress_without_a_terminal_is_plain_lines():
    text = shown(terminal=False)
    first, *rest = text.splitlines()
    assert first.startswith("step 30/40  ")
    assert "rows/s  click 0.5  0:00:00 left" in first
    assert rest[0].startswith("step 30  epoch 1  click auc 0.75")
    assert "(best so far)" in rest[0]
    assert "time" not in rest[0]  # its metric is not defined
    assert rest[1] == "  a layer is dead"
    assert "\x1b" not in text


def test_progress_without_a_terminal_is_a_line_now_and_then():
    stream = io.StringIO()
    display = ProgressDisplay(Console(file=stream, force_terminal=False, width=200), every=60.0)
    display.on_start(Start(0, 100))
    for step in range(1, 50):
        display.on_record(train_record(step))
    display.on_end()
    assert len(stream.getvalue().splitlines()) == 1


def test_progress_on_a_terminal_is_a_bar_and_lines_of_validations():
    text = shown(terminal=True)
    assert "30/40" in text
    assert "rows/s" in text
    assert "click auc 0.75" in text


def test_a_callback_may_look_at_what_it_likes():
    class Mlflow(Callback):
        def __init__(self, run):
            self.run = run

        def on_record(self, record):
            for name, value in flat_numbers(record):
                self.run.append((name, value, record["step"]))

    run = []
    callback = Mlflow(run)
    callback.on_start(Start(0, 1))
    callback.on_step(1, BALANCE, 8)
    callback.on_record(train_record(1))
    callback.on_epoch(1)
    callback.on_end()
    assert ("train/loss/click", 0.5, 1) in run
