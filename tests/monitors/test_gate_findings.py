"""Shared experts of one task alone, own experts that nobody takes: found where planted, nowhere else."""

import pytest
import torch

from polytask.monitors import Observer, gate_findings


def seen(mixtures, model):
    observer = Observer(model, "cpu")
    with torch.no_grad():
        observer.see(model(mixtures.rows()[0]))
    return observer.look().findings


def gate_of(model, name, task):
    """Weights of a task's gate in the last level, `e d`."""
    sharing = model.sharing
    last = {"cgc": "level.task_gates", "ple": "levels.1.task_gates", "adatt": "levels.1.task_gates", "home": "task_gates"}
    return sharing.get_submodule(last.get(name, "gates")).of(task).layers[-1].weight[0]


def push(model, name, task, expert, by):
    """Opens or shuts a gate: by the weight of the input that is 1, or of all where it reads a level that is never below 0."""
    with torch.no_grad():
        gate_of(model, name, task)[expert, slice(None) if name in {"ple", "adatt", "home"} else slice(5, 6)] = by


def lift(model):
    """Takes what the level below gives well above 0."""
    for module in model.sharing.levels[0].modules():
        if getattr(module, "gives_experts", False):
            torch.nn.init.ones_(module.layers[0].bias)


# places of the first shared expert and of the first own expert of "buy" in a gate: own ones first
SHARED = {"mmoe": 1, "cgc": 2, "ple": 2, "stem": 6}
OWN = {"cgc": (0, 1), "ple": (0, 1), "stem": (2, 3)}


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_expert_of_one_task_alone_is_found(mixtures, name):
    model = mixtures.model(name)
    if name == "ple":  # the last gates read what the level below mixed
        lift(model)
    for task in mixtures.tasks:
        push(model, name, task, SHARED[name], 20.0 if task == "buy" else -20.0)
    findings = seen(mixtures, model)
    place = model.sharing.expert_owners.index(mixtures.tasks) + (1 if name == "mmoe" else 0)
    degraded = [found for found in findings if found.name == "expert degradation"]
    assert [found.place for found in degraded] == [f"expert {place}"]
    assert f"shared expert {place} serves 'buy' alone" in degraded[0].text
    assert "expert_dropout" in degraded[0].text


@pytest.mark.parametrize("name", OWN)
def test_a_task_that_ignores_its_own_experts_is_found(mixtures, name):
    model = mixtures.model(name)
    if name == "ple":
        lift(model)
    for expert in OWN[name]:
        push(model, name, "buy", expert, -20.0)
    if name == "stem":  # nor those of others
        for expert in (0, 1, 4, 5):
            push(model, name, "buy", expert, -20.0)
    (found,) = seen(mixtures, model)
    assert (found.name, found.place) == ("expert underfitting", "buy")
    assert "'buy' takes 0.0% of its mixture from its own 2 expert(s) and 100% from shared ones" in found.text
    assert "learning rate of 'buy'" in found.text


@pytest.mark.parametrize("name", ["adatt", "home"])
def test_a_residual_of_own_experts_cannot_underfit(mixtures, name):
    """The gate ignores them, the residual does not: nothing is wrong."""
    model = mixtures.model(name)
    own = (2, 3) if name == "adatt" else (0, 1)
    for expert in own:
        push(model, name, "buy", expert, -20.0)
    if name == "adatt":
        torch.nn.init.constant_(model.sharing.levels[1].task_residuals.of("buy").weight, 0.5)
    assert [found for found in seen(mixtures, model) if found.name == "expert underfitting"] == []


def test_an_adatt_whose_residual_vanished_can(mixtures):
    model = mixtures.model("adatt")
    torch.nn.init.zeros_(model.sharing.levels[1].task_residuals.of("buy").weight)
    lift(model)
    for task_residual in model.sharing.levels[0].task_residuals.parameters():
        torch.nn.init.ones_(task_residual)
    for expert in range(6):
        push(model, "adatt", "buy", expert, -20.0)
    assert [(found.name, found.place) for found in seen(mixtures, model)] == [("expert underfitting", "buy")]


@pytest.mark.parametrize("name", ["mmoe", "omoe", "cgc", "ple", "adatt", "stem", "home"])
def test_nothing_is_found_in_a_healthy_mixture_new_or_trained(mixtures, name):
    model, (features, labels) = mixtures.model(name), mixtures.rows()
    assert seen(mixtures, model) == []
    before = sum(model.losses(model(features), labels).values()).item()
    mixtures.trained(model, steps=60)
    assert sum(model.losses(model(features), labels).values()).item() < 0.8 * before
    assert seen(mixtures, model) == []


def use(*gates):
    return {f"use/{task}/{expert}": share for task, gate in zip("abc", gates, strict=False) for expert, share in enumerate(gate)}


ALL = ("a", "b", "c")


def test_the_bounds():
    everyone = [ALL] * 4
    assert gate_findings(use([0.7, 0.1, 0.1, 0.1], [0.025, 0.3, 0.3, 0.375], [0.0, 0.4, 0.3, 0.3]), ALL, everyone) == []
    (found,) = gate_findings(use([0.7, 0.1, 0.1, 0.1], [0.024, 0.3, 0.3, 0.376], [0.0, 0.4, 0.3, 0.3]), ALL, everyone)
    assert (found.place, found.size) == ("expert 0", 0.7)
    # an expert that nobody uses is idle, not degraded
    assert gate_findings(use([0.24, 0.26, 0.25, 0.25], [0.0, 0.4, 0.3, 0.3], [0.0, 0.4, 0.3, 0.3]), ALL, everyone) == []
    owners = [("a",), ("b",), ("c",), ALL]
    fed = use([0.06, 0.0, 0.0, 0.94], [0.0, 0.04, 0.0, 0.96], [0.0, 0.0, 0.5, 0.5])
    assert [(found.name, found.place) for found in gate_findings(fed, ALL, owners)] == [("expert underfitting", "b")]


def test_only_shared_ones_that_dominate_underfit():
    """A task of AdaTT or STEM that takes its share from other tasks' experts is not fed by shared ones."""
    owners = [("a",), ("b",), ("c",), ALL]
    assert gate_findings(use([0.0, 0.6, 0.0, 0.4], [0.0, 0.5, 0.0, 0.5], [0.0, 0.0, 0.5, 0.5]), ALL, owners) == []


def test_experts_of_a_group_are_judged_within_it():
    owners = [("a", "b"), ("a", "b"), ("c",), ALL]
    gates = ([0.5, 0.25, 0.0, 0.25], [0.01, 0.6, 0.0, 0.39], [0.0, 0.0, 0.5, 0.5])
    (found,) = gate_findings(use(*gates), ALL, owners)
    assert (found.name, found.place) == ("expert degradation", "expert 0")
    assert "serves 'a' alone" in found.text


def test_one_task_or_no_owners_is_no_question():
    assert gate_findings({"use/a/0": 1.0, "use/a/1": 0.0}, ["a"], [("a",), ("a",)]) == []
    assert gate_findings(use([1.0, 0.0], [0.0, 1.0]), ["a", "b"], ()) == []
    assert gate_findings({}, ALL, [ALL]) == []
