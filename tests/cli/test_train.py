"""`polytask train`: resumes after any death, refuses what is not its own, leaves nothing half-written."""

import json
import signal
import time

import pytest
import torch

from polytask.checkpoint import load
from polytask.lock import locked

LONG = ["--set", "train.epochs=20", "--set", "train.checkpoint_every=3", "--set", "train.batch_size=64"]


def weights(directory):
    return load(directory / "checkpoints" / "latest.safetensors", parts=["model"])["model"]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def undisturbed(feed, polytask, tmp_path_factory):
    directory = tmp_path_factory.mktemp("long") / "run"
    assert polytask("train", feed / "run.toml", "-o", directory, "-q", *LONG).exit_code == 0
    return directory


def stop_after_a_checkpoint(process, file, number):
    """Waits until the process has written a checkpoint of its own, and sends a signal."""
    before = file.stat().st_mtime_ns if file.exists() else 0
    for _ in range(2400):
        if process.poll() is not None or (file.exists() and file.stat().st_mtime_ns > before):
            break
        time.sleep(0.02)
    process.send_signal(number)
    return process.communicate(timeout=120)


def test_the_same_command_goes_on_after_any_signal(feed, command, undisturbed, tmp_path):
    words = ["train", feed / "run.toml", "-o", tmp_path / "run", *LONG]
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        process = command(*words)
        _, err = stop_after_a_checkpoint(process, tmp_path / "run" / "checkpoints" / "latest.safetensors", number)
        assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), err
        assert "Traceback" not in err
        if number != signal.SIGKILL:
            assert "the same command resumes it" in err
        assert not (tmp_path / "run" / "result.json").exists()
    again = command(*words, "--json")
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert json.loads(out)["epoch"] == 20
    assert same(weights(tmp_path / "run"), weights(undisturbed))


def test_json_is_all_of_standard_output(feed, polytask, tmp_path):
    result = polytask("train", feed / "run.toml", "-o", tmp_path / "run", "--json")
    report = json.loads(result.stdout)
    assert report["epoch"] == 2
    assert report["best"]["metrics"].keys() == {"click", "buy", "watch", "click_and_buy", "click_and_watch"}
    again = polytask("train", feed / "run.toml", "-o", tmp_path / "run", "--json")
    assert json.loads(again.stdout) == {**report, "finished_before": True}
    assert "--fresh" in again.stderr


def test_directories_are_named_by_the_file_and_numbered(feed, polytask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert polytask("train", feed / "run.toml", "-q", "--set", "train.max_steps=1").exit_code == 0
    assert polytask("train", feed / "run.toml", "-q", "--set", "train.max_steps=1", "--fresh").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [".cache", "run", "run-2"]


def test_another_configuration_is_refused(trained, feed, polytask):
    result = polytask("train", feed / "run.toml", "-o", trained, "--set", "sharing.num_experts=5", "--set", "train.seed=1")
    assert result.exit_code == 2
    assert "sharing.num_experts: 2 -> 5" in result.stderr
    assert "train.seed: 0 -> 1" in result.stderr


def test_two_processes_do_not_write_one_directory(feed, command, tmp_path):
    with locked(tmp_path / "run"):
        process = command("train", feed / "run.toml", "-o", tmp_path / "run")
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "another process" in err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]


def test_an_unwritable_directory(feed, polytask, tmp_path):
    (tmp_path / "file").write_text("")
    result = polytask("train", feed / "run.toml", "-o", tmp_path / "file" / "run")
    assert result.exit_code == 2
    assert "must be writable" in result.stderr


def test_all_mistakes_of_the_file_and_of_the_overrides(feed, polytask, tmp_path):
    result = polytask("train", feed / "run.toml", "-o", tmp_path, "--set", "train.epoch=1", "--set", "sharing.num_expert=3")
    assert result.exit_code == 2
    assert "has 2 mistakes" in result.stderr
    assert "sharing.num_expert: There is no such key. Received: 3. Did you mean 'num_experts'?" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_options_of_the_method_that_was_replaced_are_dropped_aloud(feed, polytask, tmp_path):
    result = polytask(
        "train", feed / "run.toml", "-o", tmp_path / "run", "--set", "sharing.name=shared_bottom", "--set", "train.max_steps=1"
    )
    assert result.exit_code == 0
    assert "sharing.num_experts not used" in result.stderr


def test_a_loss_that_is_no_number_names_its_task(feed, polytask, tmp_path):
    result = polytask("train", feed / "run.toml", "-o", tmp_path / "run", "--set", "optimizer.lr=1e30", "--set", "train.epochs=9")
    assert result.exit_code == 2
    assert "step" in result.stderr
    assert "task '" in result.stderr
    assert not (tmp_path / "run" / "result.json").exists()
