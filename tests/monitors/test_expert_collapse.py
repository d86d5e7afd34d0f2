"""Collapsed experts are found in every mixture, by name, and healthy ones are not."""

import pytest
import torch

from polytask.monitors import COLLAPSED, expert_zeros
from polytask.sharing import MMoE

# a module of experts in each mixture, and which of its experts is planted
PLANTED = {
    "mmoe": ("levels.0", 2),
    "omoe": ("experts", 3),
    "cgc": ("level.task_experts.task_buy", 1),
    "ple": ("levels.0.shared_experts", 0),
    "adatt": ("levels.1.task_experts.task_like", 1),
    "stem": ("shared_experts", 1),
    "home": ("group_experts.several.task_buy+click", 1),
}


def silence(stack, expert):
    with torch.no_grad():
        if hasattr(stack, "norm"):  # swish of 0 is 0
            stack.norm.scale[expert], stack.norm.shift[expert] = 0.0, 0.0
        else:
            stack.steps()[-1].bias[expert] = -1e6


@pytest.mark.parametrize("name", PLANTED)
def test_the_planted_expert_is_found_and_no_other(mixtures, name):
    model, (features, _) = mixtures.model(name), mixtures.rows()
    assert not [found for expert in expert_zeros(model, features) for found in expert.findings()]
    place, expert = PLANTED[name]
    silence(model.sharing.get_submodule(place), expert)
    (found,) = [found for expert in expert_zeros(model, features) for found in expert.findings()]
    assert (found.name, found.place, found.size) == ("expert collapse", f"sharing.{place}/{expert}", 1.0)
    assert f"100% of what expert {expert} of 'sharing.{place}' gives is 0" in found.text
    assert "learning rate" in found.text
    assert "'home'" in found.text


@pytest.mark.parametrize("name", PLANTED)
def test_every_expert_is_looked_at_once(mixtures, name):
    model, (features, _) = mixtures.model(name), mixtures.rows(64)
    seen = expert_zeros(model, features)
    assert len({expert.name for expert in seen}) == len(seen)
    expected = {"mmoe": 4, "omoe": 4, "cgc": 8, "ple": 16, "adatt": 16, "stem": 8, "home": 6 + 12}
    assert len(seen) == expected[name]


def test_the_share_of_zeros_is_counted_over_rows_and_units(mixtures):
    model, (features, _) = mixtures.model("mmoe"), mixtures.rows(50)
    with torch.no_grad():
        given = model.sharing.levels[0](features.numeric)
    expected = (given == 0).double().mean((1, 2)).tolist()
    assert [expert.zeros for expert in expert_zeros(model, features)] == pytest.approx(expected)
    assert 0.05 < max(expected) < COLLAPSED


def test_what_is_no_mixture_has_no_experts(mixtures):
    for name in ("shared_bottom", "single_task"):
        assert expert_zeros(mixtures.model(name), mixtures.rows(64)[0]) == []


def test_experts_of_the_user_are_looked_at_too(mixtures):
    model, (features, _) = mixtures.model("mmoe"), mixtures.rows(64)
    given = [torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU()) for _ in range(3)]
    model.sharing = MMoE.around(6, list(mixtures.tasks), experts=given, out_features=8)
    with torch.no_grad():
        given[1][0].bias.fill_(-1e6)
    assert [expert.findings() != [] for expert in expert_zeros(model, features)] == [False, True, False]


def test_the_model_is_left_as_it_was(mixtures):
    for name in mixtures.names:
        model, (features, _) = mixtures.model(name), mixtures.rows(64)
        model.train()
        model.heads.eval()
        before = [module.training for module in model.modules()]
        with torch.no_grad():
            outputs = model(features).by_task
        expert_zeros(model, features)
        assert [module.training for module in model.modules()] == before
        assert not any(module._forward_hooks for module in model.modules())
        with torch.no_grad():
            assert all(torch.equal(output, outputs[task]) for task, output in model(features).by_task.items())
