"""A checkpoint gives back what was put in, or says what is wrong; writing one never costs the one before."""

import json
import math
import os
import random
import resource
import stat
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from polytask import checkpoint
from polytask.errors import CheckpointError

SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text()
TENSORS = st.builds(
    lambda dtype, shape: torch.arange(math.prod(shape)).reshape(shape).to(dtype),
    st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.float64]),
    st.sampled_from([(), (0,), (3,), (2, 3)]),
)
KEYS = st.text() | st.integers() | st.just("$tensor")
TREES = st.recursive(
    SCALARS | TENSORS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@given(TREES)
@settings(max_examples=60, deadline=None)
def test_what_went_in_comes_out(tmp_path_factory, tree):
    file = tmp_path_factory.mktemp("round") / "a.safetensors"
    checkpoint.save(file, {"part": tree})
    assert same(checkpoint.load(file)["part"], tree)


def test_numbers_that_json_lacks(tmp_path):
    checkpoint.save(tmp_path / "a", {"part": [math.inf, -math.inf, 0.1 + 0.2]})
    assert checkpoint.load(tmp_path / "a")["part"] == [math.inf, -math.inf, 0.1 + 0.2]


def test_shared_and_overlapping_tensors(tmp_path):
    """Tied weights are written once; views of one storage come back as they were."""
    base = torch.arange(12.0)
    tied = torch.nn.Parameter(torch.randn(1000))
    state = {"a": tied, "b": tied, "head": base[:5], "tail": base[3:], "transposed": base.view(3, 4).T}
    checkpoint.save(tmp_path / "a", {"part": state})
    assert (tmp_path / "a").stat().st_size < 8_000
    found = checkpoint.load(tmp_path / "a")["part"]
    assert all(torch.equal(value, found[name]) for name, value in state.items())


def test_state_of_an_optimizer_of_torch(tmp_path):
    """Its keys are numbers and its rates tuples."""
    slots = {"step": torch.tensor(3.0), "exp_avg": torch.randn(2, 3)}
    state = {"state": {0: slots, 1: slots}, "param_groups": [{"betas": (0.9, 0.999), "fused": None, "params": [0, 1]}]}
    checkpoint.save(tmp_path / "a", {"optimizer": state})
    assert same(checkpoint.load(tmp_path / "a")["optimizer"], state)


def test_parts_are_read_alone(tmp_path):
    checkpoint.save(tmp_path / "a", {"model": {"w": torch.ones(2)}, "optimizer": {"m": torch.zeros(3)}})
    assert list(checkpoint.load(tmp_path / "a", parts=["model"])) == ["model"]


def test_random_generators_go_on_where_they_were(tmp_path):
    checkpoint.save(tmp_path / "a", {"random": checkpoint.random_state()})
    expected = (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random())  # noqa: NPY002
    torch.rand(5), np.random.randn(3), random.random()  # noqa: NPY002
    checkpoint.set_random_state(checkpoint.load(tmp_path / "a")["random"])
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()) == expected  # noqa: NPY002


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file(tmp_path, share):
    file = tmp_path / "a.safetensors"
    checkpoint.save(file, {"model": {"w": torch.randn(1000)}})
    os.truncate(file, int(share * file.stat().st_size))
    with pytest.raises(CheckpointError, match=r"a\.safetensors' must be a whole safetensors file.*truncated"):
        checkpoint.load(file)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_damaged_byte_never_passes_unseen(tmp_path_factory, data):
    """Any one byte changed: an error of ours, or (in the blanks of the header) the state as it was."""
    file = tmp_path_factory.mktemp("damage") / "a.safetensors"
    state = {"model": {"w": torch.arange(50.0)}, "position": {"step": 12345}}
    checkpoint.save(file, state)
    raw = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(raw)
    try:
        found = checkpoint.load(file)
    except CheckpointError:
        return
    assert same(found, state)


def test_foreign_files(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not a checkpoint of Polytask"):
        checkpoint.load(tmp_path / "other.safetensors")
    (tmp_path / "text").write_text("hello, this is no safetensors file")
    with pytest.raises(CheckpointError, match="must be a whole safetensors file"):
        checkpoint.load(tmp_path / "text")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "missing")
    later = json.dumps({"version": 99})
    save_file({}, tmp_path / "later", {"polytask": later, "polytask_crc32": str(zlib.crc32(later.encode()))})
    with pytest.raises(CheckpointError, match=r"format 1 or older.*format 99.*Update"):
        checkpoint.load(tmp_path / "later")


def test_another_run_is_refused_with_all_that_differs(tmp_path):
    was = {"config": {"balancer": {"name": "equal"}, "lr": 0.1, "hidden": (8, 4)}, "tasks": ["click", "buy"]}
    checkpoint.save(tmp_path / "a", {"part": 1}, identity=was)
    assert checkpoint.load(tmp_path / "a", identity=was) == {"part": 1}
    now = {"config": {"balancer": {"name": "fixed"}, "lr": 0.1, "hidden": (8, 4), "clip": 1.0}, "tasks": ["buy", "click"]}
    with pytest.raises(CheckpointError) as refused:
        checkpoint.load(tmp_path / "a", identity=now)
    text = str(refused.value)
    assert "config.balancer.name: 'equal' there, 'fixed' here" in text
    assert "config.clip: '(not set)' there, 1.0 here" in text
    assert "tasks: ['click', 'buy'] there, ['buy', 'click'] here" in text
    assert "lr" not in text
    assert "another run directory" in text


def test_what_cannot_be_kept_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"'model/layers/1'.*set"):
        checkpoint.save(tmp_path / "a", {"model": {"layers": [1, {3}]}})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    file = tmp_path / "latest.safetensors"
    checkpoint.save(file, {"part": {"w": torch.ones(3)}})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file may grow beyond: the nearest thing to a full disk
    try:
        with pytest.raises(CheckpointError, match=r"Could not write checkpoint.*File too large.*untouched"):
            checkpoint.save(file, {"part": {"w": torch.zeros(1_000_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.equal(checkpoint.load(file)["part"]["w"], torch.ones(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["latest.safetensors"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"Could not write checkpoint.*choose a writable directory"):
        checkpoint.save(tmp_path / "file" / "a", {"part": 1})


def test_the_file_is_as_readable_as_others(tmp_path):
    before = os.umask(0o022)
    try:
        checkpoint.save(tmp_path / "a", {"part": 1})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_an_alias_stays_when_the_original_is_replaced(tmp_path):
    latest, best = tmp_path / "latest", tmp_path / "best"
    for step in (1, 2):
        checkpoint.save(latest, {"step": step})
        if step == 1:
            checkpoint.alias(latest, best)
            checkpoint.alias(latest, best)
            assert latest.samefile(best)
    assert (checkpoint.load(best)["step"], checkpoint.load(latest)["step"]) == (1, 2)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_alias_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError("no hard links here")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    checkpoint.save(tmp_path / "latest", {"step": 1})
    checkpoint.alias(tmp_path / "latest", tmp_path / "best")
    assert checkpoint.load(tmp_path / "best") == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 2
