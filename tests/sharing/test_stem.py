"""STEM: the contract, a slow reference, what the loss of a task reaches, training with its k + 1 encoders."""

from functools import partial

import pytest
import torch

from polytask.balancers import Equal
from polytask.batch import Batch, Features, Labels
from polytask.data import NumericField, Preprocessing
from polytask.errors import ConfigError
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.sharing import STEM, private_parameters
from polytask.tasks import Binary
from polytask.testing import check_sharing
from polytask.train import train_step

UNEVEN = {"hidden": (7, 5), "num_task_experts": 2, "num_shared_experts": 3, "gate_hidden": (6,)}


@pytest.mark.parametrize("options", [{}, UNEVEN, {"num_task_experts": 3, "num_shared_experts": 1, "expert_dropout": 0.4}])
def test_contract(options):
    check_sharing(partial(STEM, **options))


def test_equals_a_slow_reference(slow, scrambled):
    stem = scrambled(STEM(4, ["a", "b", "c"], hidden=(5, 2), num_task_experts=2, num_shared_experts=3, gate_hidden=(3,)))
    x = torch.randn(4, 6, 4, dtype=torch.float64)
    shared = stem(x)
    for i in range(6):
        *embedded, common = x[:, i].tolist()
        own = [slow.mlp(stem.task_experts.of(task), e, z) for task, z in zip("abc", embedded, strict=True) for e in range(2)]
        experts = own + [slow.mlp(stem.shared_experts, e, common) for e in range(3)]
        for place, task in enumerate("abc"):
            read = [a + b for a, b in zip(embedded[place], common, strict=True)]
            gate = slow.softmax(slow.mlp(stem.gates.of(task), 0, read))
            assert shared.gates[place, i].tolist() == pytest.approx(gate, abs=1e-10)
            assert shared.outputs[place, i].tolist() == pytest.approx(slow.mix(gate, experts), abs=1e-10)


def undetached(stem, x):
    """The same mixture with every gradient let through."""
    own = torch.cat([stem.task_experts.of(task)(z) for task, z in zip(stem.tasks, x[:-1], strict=True)])
    experts = torch.cat([own, stem.shared_experts(x[-1])])
    gates = [stem.gates.of(task)(z + x[-1]).softmax(-1) for task, z in zip(stem.tasks, x[:-1], strict=True)]
    return torch.einsum("kne,enh->knh", torch.cat(gates), experts)


def test_a_loss_reaches_its_own_and_the_shared_and_nothing_of_another_task(scrambled):
    stem = scrambled(STEM(4, ["a", "b", "c"], **UNEVEN))
    x = torch.randn(4, 9, 4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(stem(x).outputs, undetached(stem, x), rtol=0, atol=1e-12)
    inputs = [x, *stem.parameters()]
    names = ["x", *(name for name, _ in stem.named_parameters())]
    for place, task in enumerate("abc"):
        found, whole = (
            dict(zip(names, torch.autograd.grad(outputs[place].sin().sum(), inputs, allow_unused=True), strict=True))
            for outputs in (stem(x).outputs, undetached(stem, x))
        )
        others = [other for other in range(3) if other != place]
        assert not found["x"][others].any()
        assert whole["x"][others].any()  # without the stop it would arrive
        torch.testing.assert_close(found["x"][[place, 3]], whole["x"][[place, 3]])
        for name in names[1:]:
            if any(f"task_{other}" in name for other in "abc" if other != task):
                assert found[name] is None or not found[name].any(), name
            else:
                torch.testing.assert_close(found[name], whole[name])


def test_what_is_private():
    stem = STEM(4, ["a", "b"])
    private = {id(parameter) for parameter in private_parameters(stem, "a")}
    names = {name.split(".")[0] for name, parameter in stem.named_parameters() if id(parameter) in private}
    assert names == {"task_experts", "gates"}
    assert stem.expert_owners == (("a",), ("b",), ("a", "b"), ("a", "b"))


def test_a_step_for_one_task_leaves_the_encoder_and_the_experts_of_the_other():
    torch.manual_seed(0)
    tasks = [Binary("click"), Binary("buy")]
    columns = Preprocessing((), (NumericField("x", 0.0, 1.0, (-1.0, 0.0, 1.0)),), (), tuple(tasks))
    model = MultiTaskModel.build(columns, tasks, sharing={"name": "stem", "hidden": [8]})
    assert len(model.own_encoders) == 2
    assert len(model.encoders) == 1
    balancer = Equal(["click", "buy"])
    optimizer = build_optimizer(model, balancer, lr=0.1)
    features = Features(torch.zeros(32, 0, dtype=torch.int32), torch.randn(32, 1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    labels = {"click": Labels.of((features.numeric[:, 0] > 0).float())}
    train_step(model, balancer, optimizer, Batch(features, labels))
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    # the rows of a gate that weigh another's experts are the gate's own: they move with its task
    assert not [name for name in moved if "task_buy" in name and "task_click" not in name]
    for part in ("own_encoders.task_click", "encoders.0", "sharing.task_experts.task_click", "sharing.shared_experts"):
        assert any(name.startswith(part) for name in moved), part


def test_mistakes_are_named():
    with pytest.raises(
        ConfigError, match=r"experts of each task and shared ones\. Received: num_task_experts=1, num_shared_experts=0"
    ):
        STEM(4, ["a"], num_shared_experts=0)
