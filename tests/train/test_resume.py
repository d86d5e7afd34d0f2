"""Killed at random moments and started again with the same command, a run ends as if it had never been killed."""

import json
import random
import subprocess
import sys
from pathlib import Path

import torch

from polytask import checkpoint

PROGRAM = Path(__file__).parent / "killed_run.py"


def test_killed_runs_end_bit_for_bit_like_one_that_was_not(tmp_path):
    seed = random.SystemRandom().randrange(1 << 30)  # other moments in every test run; on failure the message names it
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), str(seed)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    told = json.loads(done.stdout)
    assert told["kills"] >= 12, told
    assert len(set(told["records_at_kill"])) > 2, "all kills came at one place"
    straight = tmp_path / "straight"
    for killed in sorted(tmp_path.glob("killed-*")):
        names = sorted(file.name for file in (killed / "checkpoints").glob("*.safetensors"))
        assert not list((killed / "checkpoints").glob(".*")), "something half-written was left behind"
        assert names == ["best.safetensors", "latest.safetensors"]
        for name in names:
            expected, found = (checkpoint.load(run / "checkpoints" / name) for run in (straight, killed))
            del expected["position"]["seconds"], found["position"]["seconds"]
            assert plain(expected) == plain(found), f"seed {seed}: {name} of {killed.name} differs"
        assert log(killed) == log(straight), f"seed {seed}: the log of {killed.name} differs"


def plain(value):
    """A state that can be compared: tensors as bytes, NaN as text."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), bytes(value.reshape(-1).view(torch.uint8).numpy()))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else repr(value)


def log(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in {"seconds", "rows_per_second"}} for line in lines]
