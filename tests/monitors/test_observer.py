"""The observer puts gates, units and experts together."""

import torch

from polytask.batch import Batch
from polytask.evaluate import evaluate
from polytask.monitors import Observer


def looked(mixtures, model, num_rows, *, hooks=True):
    observer = Observer(model, "cpu")
    batches = [Batch(*mixtures.rows(num_rows, seed=seed)) for seed in range(2)]
    evaluate(model, observer.watched(batches), observe=observer.see)
    return observer.look(hooks=hooks)


def sick(mixtures):
    model = mixtures.model("cgc")
    with torch.no_grad():
        model.sharing.level.shared_experts.steps()[-1].bias[0] = -1e6
        model.sharing.level.task_gates.of("buy").layers[0].weight[0, :2, 5] = -20.0
    return model


def test_all_is_seen_in_one_evaluation(mixtures):
    look = looked(mixtures, sick(mixtures), 1024)
    assert [found.name for found in look.findings] == ["expert underfitting", "expert collapse"]
    assert look.units["expert_zeros"]["sharing.level.shared_experts/0"] == 1.0
    assert set(look.units) == {"dead_units", "expert_zeros"}
    assert 0 <= look.gates["entropy/click"] <= 1


def test_without_hooks_the_gates_are_judged_still(mixtures):
    look = looked(mixtures, sick(mixtures), 1024, hooks=False)
    assert [found.name for found in look.findings] == ["expert underfitting"]
    assert look.units == {}


def test_a_handful_of_rows_says_nothing(mixtures):
    look = looked(mixtures, sick(mixtures), 100)
    assert look.findings == []
    assert look.units["expert_zeros"]["sharing.level.shared_experts/0"] == 1.0


def test_a_model_without_gates_is_looked_at_too(mixtures):
    look = looked(mixtures, mixtures.model("shared_bottom"), 300)
    assert (look.gates, look.findings, look.units["expert_zeros"]) == ({}, [], {})
    assert look.units["dead_units"]
