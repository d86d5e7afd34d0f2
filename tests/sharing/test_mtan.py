"""MTAN: the contract, a slow reference, the first mask, masks within (0, 1), norms, what masks do."""

from functools import partial

import pytest
import torch

from plain import Numbers
from polytask.balancers import Equal
from polytask.batch import Batch, Features, Labels
from polytask.errors import ConfigError
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.sharing import MTAN, SharedBottom, private_parameters
from polytask.tasks import Binary, Regression
from polytask.testing import check_sharing
from polytask.train import train_step

OPTIONS = [
    {"hidden": (5,)},
    {"hidden": (5, 3, 4), "attention_hidden": 2},
    {"hidden": (5, 3), "norm": "layer", "activation": "silu"},
    {"hidden": (5, 3), "norm": "batch"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_contract(options):
    check_sharing(partial(MTAN, **options))


def slow_mask(slow, mask, shared, own):
    inner = slow.mlp(mask.of_shared, 0, shared)
    if own is not None:
        inner = [a + b for a, b in zip(inner, slow.mlp(mask.of_own, 0, own), strict=True)]
    logits = slow.mlp(mask.out, 0, [max(value, 0.0) for value in inner])
    return [1 / (1 + torch.tensor(-logit, dtype=torch.float64).exp().item()) for logit in logits]


def test_equals_a_slow_reference(slow, scrambled):
    mtan = scrambled(MTAN(4, ["c", "a", "b"], hidden=(5, 3, 6), attention_hidden=2))
    x = torch.randn(6, 4, dtype=torch.float64)
    outputs = mtan(x).outputs
    for place, task in enumerate(mtan.tasks):
        for i, row in enumerate(x.tolist()):
            below, own = row, None
            for layer, masks in zip(mtan.layers, mtan.masks, strict=True):
                above = slow.mlp(layer, 0, below)
                mask = slow_mask(slow, masks.of(task), below, own)
                below, own = above, [m * value for m, value in zip(mask, above, strict=True)]
            assert outputs[place, i].tolist() == pytest.approx(own, abs=1e-10)


def test_the_first_mask_reads_the_input_alone():
    """The trap: there are no features of the task before the first layer; zeros in their place would be weights for nothing."""
    mtan = MTAN(4, ["a", "b"], hidden=(5, 3))
    first, second = (masks.of("a") for masks in mtan.masks)
    assert first.of_own is None
    assert first.of_shared.layers[0].weight.shape == (1, 32, 4)
    assert second.of_own.layers[0].weight.shape == (1, 32, 5)
    mtan(torch.randn(3, 4)).outputs.sum().backward()
    assert all(parameter.grad is not None for parameter in mtan.parameters())


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
def test_masks_lie_in_zero_to_one_and_tasks_differ(norm):
    torch.manual_seed(0)
    mtan = MTAN(4, ["a", "b"], hidden=(64, 50), norm=norm, activation="gelu")
    shared = mtan(torch.randn(200, 4))
    masks = shared.outputs / shared.junction[-1]  # gelu: no zeros
    assert ((masks > 0) & (masks < 1)).all()
    assert (masks[0] - masks[1]).abs().mean() > 0.02
    assert masks.mean().item() == pytest.approx(0.5, abs=0.1)


def test_open_masks_make_it_a_shared_bottom(scrambled):
    mtan = scrambled(MTAN(4, ["a", "b"], hidden=(5, 3)))
    bottom = SharedBottom(4, ["a", "b"], hidden=(5, 3)).double()
    for mine, known in zip(bottom.trunk.layers, mtan.layers, strict=True):
        mine.load_state_dict(known.layers[0].state_dict())
    with torch.no_grad():
        for mask in mtan.masks[-1].values():
            mask.out.layers[0].weight.zero_()
            mask.out.layers[0].bias.fill_(60.0)
    x = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(mtan(x).outputs, bottom(x).outputs, rtol=0, atol=1e-12)


def test_batch_norm_sees_the_batch_in_training_only():
    mtan = MTAN(4, ["a", "b"], hidden=(5, 3), norm="batch")
    x = torch.randn(8, 4)
    assert not torch.allclose(mtan.train()(x).outputs[:, :4], mtan(x[:4]).outputs)
    torch.testing.assert_close(mtan.eval()(x).outputs[:, :4], mtan(x[:4]).outputs)
    plain = MTAN(4, ["a", "b"], hidden=(5, 3)).train()
    torch.testing.assert_close(plain(x).outputs[:, :4], plain(x[:4]).outputs)


def test_all_masks_are_private_and_nothing_else():
    mtan = MTAN(4, ["a", "b"], hidden=(5, 3), norm="layer")
    private = {id(parameter) for parameter in private_parameters(mtan, "b")}
    names = {name for name, parameter in mtan.named_parameters() if id(parameter) in private}
    assert names == {name for name, _ in mtan.named_parameters() if ".task_b." in name}
    assert {name.split(".")[0] for name, _ in mtan.named_parameters() if name not in names and "task_a" not in name} == {"layers"}


def test_each_task_learns_to_look_where_its_label_is():
    """Two products of shared features: through training, masks of the tasks part, and both are fitted."""
    torch.manual_seed(0)
    tasks = [Regression("time"), Binary("click")]
    names = [task.name for task in tasks]
    model = MultiTaskModel([Numbers()], MTAN(4, names, hidden=(32,)), Heads(32, tasks))
    x = torch.randn(256, 4)
    values = {"time": x[:, 0] * x[:, 1], "click": (x[:, 2] > 0).float()}
    labels = {name: Labels(value, torch.ones(256).bool(), 256) for name, value in values.items()}
    batch = Batch(Features(torch.zeros(256, 0, dtype=torch.int64), x, {}), labels)
    optimizer = build_optimizer(model, Equal(names), lr=0.02)
    losses = [train_step(model, Equal(names), optimizer, batch).losses for _ in range(150)]
    assert all(losses[-1][name] < 0.3 * losses[0][name] for name in names)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="needs a shared layer"):
        MTAN(4, ["a"], hidden=())
    with pytest.raises(ConfigError, match=r"Unknown norm.*'layers'.*layer"):
        MTAN(4, ["a"], norm="layers")
    with pytest.raises(ConfigError, match="positive widths"):
        MTAN(4, ["a"], attention_hidden=0)
