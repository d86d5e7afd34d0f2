"""A small feed, a declared run of it, and the command in this process or in one of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from typer.testing import CliRunner, Result

from polytask.data.synthetic import Feed

RUN = {
    "data": {"train": "train.parquet", "valid": "valid.parquet"},
    "task": [
        {"kind": "binary", "name": "click"},
        {"kind": "binary", "name": "buy", "given": "click"},
        {"kind": "regression", "name": "watch", "given": "click"},
    ],
    "features": {"include": ["user_*", "item_*", "position"]},
    "encoder": {"embedding_dim": 4, "numeric_dim": 4},
    "sharing": {"name": "mmoe", "num_experts": 2, "hidden": [8]},
    "train": {"epochs": 2, "batch_size": 128, "device": "cpu"},
}


@pytest.fixture(scope="session")
def feed(tmp_path_factory) -> Path:
    """A folder with tables and `run.toml`; tests write elsewhere."""
    folder = tmp_path_factory.mktemp("feed")
    simulator = Feed(seed=5, num_users=50, num_items=30, num_categories=4, rates={"click": 0.25, "buy": 0.3})
    simulator.write(folder / "train.parquet", 1500)
    simulator.write(folder / "valid.parquet", 400, start=1500)
    (folder / "run.toml").write_text(tomli_w.dumps(RUN))
    return folder


@pytest.fixture(scope="session")
def polytask() -> Callable[..., Result]:
    """The command inside this process."""
    from polytask.cli import app

    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.Popen]:
    """The command in a process of its own."""

    def start(*words, **options) -> subprocess.Popen:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        line = [sys.executable, "-m", "polytask", *map(str, words)]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options)

    return start


@pytest.fixture(scope="session")
def trained(feed, polytask, tmp_path_factory) -> Path:
    """Directory of a trained run."""
    directory = tmp_path_factory.mktemp("runs") / "first"
    result = polytask("train", feed / "run.toml", "-o", directory, "--quiet")
    assert result.exit_code == 0, result.output
    return directory
