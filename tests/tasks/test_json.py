import pytest

from polytask.errors import ConfigError
from polytask.tasks import Binary, Multiclass, task_from_json, task_to_json


@pytest.mark.parametrize("classes", [("a", "b"), (1, 2**60), (0.1 + 0.2, 1.0), (True, False)])
def test_classes_of_any_type_come_back_as_they_were(classes):
    back = task_from_json(task_to_json(Multiclass("y", classes=classes)))
    assert back.classes == classes
    assert list(map(type, back.classes)) == list(map(type, classes))


def test_several_positive_values_come_back():
    assert task_from_json(task_to_json(Binary("y", positive=("a", "b")))) == Binary("y", positive=("a", "b"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "binery", "name": "a"}, ["'binery'", "'binary'?"]),
        ({"kind": "binary", "name": "a", "givn": "b"}, ["'givn'", "'given'?"]),
        ({"kind": "binary"}, ["needs a name"]),
    ],
)
def test_refusals(values, words):
    with pytest.raises(ConfigError) as error:
        task_from_json(values)
    assert all(word in str(error.value) for word in words)
