"""Gate statistics: closed forms, sums over batches, gates with unseen experts."""

import math

import pytest
import torch

from polytask.sharing import GateStatistics, gate_statistics

GATES = torch.tensor([[[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], [[0.2, 0.2, 0.6], [0.0, 0.3, 0.7]]])


def test_closed_forms():
    values = gate_statistics(GATES, ["a", "b"])
    assert values["entropy/a"] == pytest.approx(1.5 * math.log(2) / 2 / math.log(3), abs=1e-6)
    assert [values[f"use/a/{i}"] for i in range(3)] == pytest.approx([0.75, 0.125, 0.125])
    assert [values[f"top/b/{i}"] for i in range(3)] == [0.0, 0.0, 1.0]
    p, q = [0.5, 0.25, 0.25], [0.2, 0.2, 0.6]
    both = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True)) / 2
    assert values["kl/a/b"] == pytest.approx(both / 2, abs=1e-6)  # the second row has no expert in common: 0
    assert values["polarised"] == 0.0


def test_batches_add_up():
    statistics = GateStatistics(["a", "b"])
    assert statistics.compute() == {}
    statistics.update(GATES[:, :1])
    statistics.update(GATES[:, 1:])
    assert statistics.compute() == pytest.approx(gate_statistics(GATES, ["a", "b"]))


def test_polarised_names_the_task():
    gates = torch.tensor([[0.97, 0.03], [0.9, 0.1]]).unsqueeze(1).expand(2, 7, 2)
    values = gate_statistics(gates, ["a", "b"])
    assert (values["polarised/a"], values["polarised/b"], values["polarised"]) == (1.0, 0.0, 1.0)


def test_one_expert_or_one_task_is_not_polarised():
    values = gate_statistics(torch.ones(1, 4, 1), ["a"])
    assert values["polarised"] == 0.0
    assert values["entropy/a"] == 1.0


def test_experts_seen_by_one_task_only_keep_the_divergence_finite():
    own, common = 0.5, 0.5
    gates = torch.tensor([[[own, 0.0, common * 0.5, common * 0.5]], [[0.0, own, common * 0.25, common * 0.75]]])
    values = gate_statistics(gates, ["a", "b"])
    expected = sum((p - q) * math.log(p / q) for p, q in [(0.5, 0.25), (0.5, 0.75)]) / 2
    assert values["kl/a/b"] == pytest.approx(expected, abs=1e-6)
