"""One method = one file = one line in its registry = one test file, the same stem everywhere."""

import inspect
from pathlib import Path

import pytest

import polytask

ROOT = Path(polytask.__file__).parent
TESTS = Path(__file__).parent
FAMILIES = {
    "balancers": ("BALANCERS", 36),
    "biases": ("BIASES", 4),
    "calibration": ("CALIBRATIONS", 3),
    "encoders": ("ENCODERS", 1),
    "fusion": ("FUSIONS", 5),
    "sharing": ("SHARINGS", 22),
    "spaces": ("SPACES", 11),
    "tasks": ("TASKS", 7),
}


def registry(family: str) -> dict[str, type]:
    module = __import__(f"polytask.{family}", fromlist=[FAMILIES[family][0]])
    return getattr(module, FAMILIES[family][0])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_registry_is_complete(family):
    assert len(registry(family)) == FAMILIES[family][1]


@pytest.mark.parametrize("family", FAMILIES)
def test_file_and_test_have_the_name_of_the_method(family):
    for name, method in registry(family).items():
        assert Path(inspect.getfile(method)).stem == f"_{name}"
        assert (TESTS / family / f"test_{name}.py").is_file(), f"no test file for {family}.{name}"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_public_class_is_final_and_documented(family):
    for name, method in registry(family).items():
        assert getattr(method, "__final__", False), f"{family}.{name} is not @final"
        assert len(inspect.getdoc(method) or "") > 200, f"{family}.{name} says too little"


@pytest.mark.parametrize("family", ["balancers", "biases", "fusion", "sharing", "spaces", "tasks"])
def test_every_part_for_a_loop_of_ones_own_is_a_name_of_the_package(family):
    for method in registry(family).values():
        assert getattr(polytask, method.__name__) is method
        assert method.__name__ in polytask.__all__


@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_is_named_in_the_reference(family):
    page = (TESTS.parent / "docs" / "methods.md").read_text()
    for name in registry(family):
        assert f"`{name}`" in page


def test_files_and_functions_stay_small():
    lines = {path: path.read_text().count("\n") for path in ROOT.rglob("*.py")}
    assert max(lines.values()) <= 400, max(lines, key=lines.get)
    assert sorted(lines.values())[len(lines) // 2] < 120
