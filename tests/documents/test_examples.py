"""The examples run, and what they train is better than guessing."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def main_of(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_own_loop():
    found = main_of("own_loop")(steps=100)
    assert set(found) == {"click", "buy"}
    assert min(found.values()) > 0.6


def test_own_backbone():
    found = main_of("own_backbone")(steps=40)
    assert len(found) == 4
    assert min(accuracy for network in found.values() for accuracy in network.values()) > 0.7


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_says_how_to_run_it(path):
    assert f"python examples/{path.name}" in path.read_text()
    assert f"def test_{path.stem}(" in Path(__file__).read_text()
