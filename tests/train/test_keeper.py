"""Where checkpoints are kept."""

import pytest
import torch

from polytask import checkpoint
from polytask.errors import CheckpointError
from polytask.train._keeper import Keeper


def state(value):
    return {"model": {"w": torch.full((2,), value)}, "position": {"step": int(value)}}


def test_the_best_stays_when_the_latest_is_replaced(tmp_path):
    keeper = Keeper(tmp_path, {"tasks": ["click"]})
    assert keeper.read() is None
    keeper.save(state(1.0))
    keeper.name_latest(["best", "best-click"], dict)
    keeper.save(state(2.0))
    assert keeper.weights("best")["w"].tolist() == [1.0, 1.0]
    assert keeper.read()["position"] == {"step": 2}
    with pytest.raises(CheckpointError, match="tasks"):
        Keeper(tmp_path, {"tasks": ["buy"]}).read()


def test_in_memory_weights_are_copied():
    keeper, weights = Keeper(None, {}), {"w": torch.ones(2)}
    keeper.save(state(1.0))
    keeper.name_latest(["best"], lambda: weights)
    weights["w"].zero_()
    assert keeper.weights("best")["w"].tolist() == [1.0, 1.0]
    assert keeper.weights("best-click") is None
    assert keeper.read() is None


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path):
    keeper = Keeper(tmp_path, {})
    keeper.sweep()
    keeper.save(state(1.0))
    for name in (".latest.safetensors.77-ab.part", ".tmpX1"):
        (tmp_path / "checkpoints" / name).touch()
    keeper.sweep()
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["latest.safetensors"]
    keeper.forget()
    assert list((tmp_path / "checkpoints").iterdir()) == []
    checkpoint.save(tmp_path / "checkpoints" / "latest.safetensors", state(1.0))
