"""Each finding is said once, until it changes."""

import json

from polytask.monitors import Finding, news


def found(name, place, size):
    return Finding(name, place, size, f"{name} {place} {size}")


def test_said_once_until_it_changes_or_comes_back():
    said = []
    told = {}
    looks = [[0.6], [0.62], [0.68], [0.71], [0.75], [], [0.75], [0.6]]
    for sizes in looks:
        texts, told = news([found("dead units", "a", size) for size in sizes], told)
        said.append([float(text.split()[-1]) for text in texts])
    assert said == [[0.6], [], [], [0.71], [], [], [0.75], [0.6]]


def test_a_slow_drift_is_measured_from_what_was_said():
    told = {}
    count = 0
    for step in range(40):
        texts, told = news([found("dead units", "a", 0.5 + 0.01 * step)], told)
        count += len(texts)
    assert count == 4


def test_another_place_or_name_is_another_finding():
    texts, told = news([found("dead units", "a", 0.6), found("dead units", "b", 0.6)], {})
    assert len(texts) == 2
    texts, told = news([found("starved units", "a", 0.6), found("dead units", "b", 0.6)], told)
    assert texts == ["starved units a 0.6"]


def test_what_was_told_goes_through_json():
    _, told = news([found("dead units", "a", 0.6)], {})
    assert news([found("dead units", "a", 0.61)], json.loads(json.dumps(told)))[0] == []
