"""Norms of all tasks at once: equal to torch's own, task by task, in both modes."""

import pytest
import torch
from torch import nn

from polytask.errors import ConfigError
from polytask.sharing._task_norms import TaskNorm, normalised


@pytest.mark.parametrize(("kind", "reference"), [("layer", nn.LayerNorm), ("batch", nn.BatchNorm1d)])
def test_equals_torch_task_by_task(kind, reference):
    torch.manual_seed(0)
    ours, theirs = [TaskNorm(4, kind).double() for _ in range(3)], [reference(4).double() for _ in range(3)]
    for norm, known in zip(ours, theirs, strict=True):
        with torch.no_grad():
            known.weight.copy_(norm.scale.add_(torch.randn(4)))
            known.bias.copy_(norm.shift.add_(torch.randn(4)))
    for training in (True, True, False):
        x = 3 * torch.randn(3, 6, 4, dtype=torch.float64) + 1
        expected = torch.stack([known.train(training)(rows) for known, rows in zip(theirs, x, strict=True)])
        found = normalised([norm.train(training) for norm in ours], x)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    if kind == "batch":
        assert torch.allclose(ours[1].mean, theirs[1].running_mean)
        assert torch.allclose(ours[1].variance, theirs[1].running_var)


def test_none_has_no_parameters_and_changes_nothing():
    norms, x = [TaskNorm(4, "none")], torch.randn(1, 3, 4)
    assert not list(norms[0].parameters())
    assert normalised(norms, x) is x


def test_bfloat16_is_normalised_in_float32():
    x = (torch.randn(1, 200, 4) + 30).bfloat16()
    found = normalised([TaskNorm(4, "batch").bfloat16().train()], x)
    assert found.dtype == torch.bfloat16
    assert found.float().mean().abs() < 0.01


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"Unknown norm.*'bach'.*batch"):
        TaskNorm(4, "bach")
