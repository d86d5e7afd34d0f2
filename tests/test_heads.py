"""Heads: edges between tasks and their gradients, cycles by name, towers, where they start."""

import math

import pytest
import torch

from polytask.errors import ConfigError
from polytask.heads import Heads, reading_order
from polytask.sharing import _mlps, private_parameters
from polytask.tasks import Binary, Multiclass, Regression

CLICK, BUY = Binary("click"), Binary("buy", reads=("click",))
KIND = Multiclass("kind", classes=("x", "y", "z"))


def gradients(heads, output, task):
    return torch.autograd.grad(output.square().sum(), private_parameters(heads, task), retain_graph=True, allow_unused=True)


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_the_reader_learns_from_the_estimate_and_the_estimate_not_from_the_reader(hidden):
    heads = Heads(4, [BUY, CLICK], hidden=hidden)
    z = torch.randn(2, 7, 4)
    outputs = heads(z)
    assert all(gradient is None for gradient in gradients(heads, outputs["buy"], "click"))
    assert all(gradient.abs().max() > 0 for gradient in gradients(heads, outputs["click"], "click"))
    # ... also when both losses are added, which is where cutting the whole graph instead of the edge goes wrong
    both = torch.autograd.grad(
        outputs["click"].square().sum() + outputs["buy"].square().sum(), private_parameters(heads, "click")
    )
    for together, alone in zip(both, gradients(heads, heads(z)["click"], "click"), strict=True):
        torch.testing.assert_close(together, alone)


def test_the_reader_reads_the_logit():
    heads = Heads(2, [CLICK, BUY])
    with torch.no_grad():
        heads.heads.of("buy").layers[0].weight.copy_(torch.tensor([[[0.0, 0.0, 1.0]]]))
    outputs = heads(3 * torch.randn(2, 7, 2))
    torch.testing.assert_close(outputs["buy"], outputs["click"])


def test_chains_and_wide_outputs_are_read_in_order():
    tasks = [Binary("last", reads=("buy", "kind")), BUY, KIND, CLICK]
    heads = Heads(4, tasks, hidden=(6,))
    outputs = heads(torch.randn(4, 3, 4))
    assert list(outputs) == ["last", "buy", "kind", "click"]
    assert outputs["kind"].shape == (3, 3)
    assert heads.towers.of("last").layers[0].weight.shape == (1, 6, 4 + 1 + 3)
    assert reading_order(tasks).index("click") < reading_order(tasks).index("buy") < reading_order(tasks).index("last")


@pytest.mark.parametrize("apart", [True, False])
def test_towers_together_are_towers_alone(monkeypatch, apart):
    monkeypatch.setattr(_mlps, "one_at_a_time", lambda *_: apart)
    tasks = [Binary("a"), KIND, Binary("b"), Binary("c", reads=("a",)), Regression("d", reads=("b",))]
    heads = Heads(4, tasks, hidden=(6, 5)).double()
    z = torch.randn(5, 7, 4, dtype=torch.float64)
    outputs = heads(z)
    for place, task in enumerate(tasks):
        x = torch.cat([z[place], *(outputs[read] for read in task.reads)], dim=1)
        expected = heads.heads.of(task.name)(heads.towers.of(task.name)(x).squeeze(0)).squeeze(0)
        torch.testing.assert_close(outputs[task.name], expected, rtol=0, atol=1e-12)


def test_cycles_and_strangers_are_named():
    with pytest.raises(ConfigError, match=r"in a circle\. Received: (a -> b -> a|b -> a -> b)"):
        Heads(4, [Binary("a", reads=("b",)), Binary("b", reads=("a",))])
    with pytest.raises(ConfigError, match=r"'buy' reads an unknown task\. Received: 'clik'\. Did you mean 'click'"):
        Heads(4, [CLICK, Binary("buy", reads=("clik",))])


def test_the_first_prediction_is_the_mean_of_the_labels():
    class Fitted(Binary):
        def initial_bias(self):
            return (math.log(0.2 / 0.8),)

    heads = Heads(4, [Binary("a"), Fitted("b")], hidden=(3,))
    outputs = heads(torch.zeros(2, 5, 4))
    assert torch.sigmoid(outputs["b"]).flatten().tolist() == pytest.approx([0.2] * 5)
    assert not outputs["a"].any()


def test_logits_keep_float32_under_autocast():
    heads = Heads(4, [CLICK, BUY], hidden=(64,))
    with torch.autocast("cpu", torch.bfloat16):
        outputs = heads(torch.randn(2, 1000, 4))
    assert outputs["buy"].dtype == torch.float32
    assert outputs["click"].unique().numel() > 900  # rounded to 8 bits about 300 would be left


def test_dropout_only_in_training():
    heads = Heads(4, [CLICK], hidden=(50,), dropout=0.5)
    z = torch.ones(1, 3, 4)
    assert torch.equal(heads.eval()(z)["click"], heads(z)["click"])
    assert not torch.equal(heads.train()(z)["click"], heads(z)["click"])
