"""The command as a whole: help without torch, near misses, errors without tracebacks, exit codes."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from polytask.cli import main
try:
    main({words!r})
except SystemExit:
    pass
heavy = {{"torch", "numpy", "pyarrow", "rich.progress"}} & set(sys.modules)
usage = resource.getrusage(resource.RUSAGE_SELF)
sys.exit(f"imported {{heavy}}" if heavy else f"{{usage.ru_utime + usage.ru_stime:.2f}} s" if usage.ru_utime > 1.0 else 0)
"""


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]])
def test_help_is_cheap(words):
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(words=words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_help_names_every_verb(polytask):
    text = polytask("--help").stdout
    for verb in ("init", "check", "train", "evaluate", "predict", "fuse", "list", "data"):
        assert f" {verb} " in text


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["trian"], "train"),
        (["train", "run.toml", "--frehs"], "--fresh"),
        (["predict", "run", "a.csv", "--keeep", "x"], "--keep"),
    ],
)
def test_near_misses(polytask, words, hint):
    result = polytask(*words)
    assert result.exit_code == 2
    assert hint in result.stderr
    assert "Traceback" not in result.output


def test_errors_are_messages(polytask, tmp_path, monkeypatch):
    result = polytask("train", tmp_path / "none.toml")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("polytask: There is no such file. Received: ")
    monkeypatch.setenv("POLYTASK_TRACEBACK", "1")
    assert type(polytask("train", tmp_path / "none.toml").exception).__name__ == "ConfigError"


def test_a_reader_that_goes_away_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m polytask list --schema | head -1", shell=True, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
