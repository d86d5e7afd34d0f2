"""A model with a space: heads it adds, who is trained in a step, what balancers see, what is saved, what is refused."""

from types import SimpleNamespace

import pytest
import torch

from impressions import NAN, labels_of
from polytask.balancers import BALANCERS, Equal
from polytask.balancers._gradient import GramianBalancer
from polytask.batch import Batch, Features
from polytask.errors import ConfigError
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.sharing import SharedBottom, private_parameters
from polytask.spaces import SPACES, EntireSpace
from polytask.tasks import Binary, Regression
from polytask.train import train_step

COLUMNS = SimpleNamespace(
    categorical=(SimpleNamespace(name="user", size=11), SimpleNamespace(name="item", size=5)),
    numeric=(SimpleNamespace(name="age", edges=(-1.0, 0.0, 2.0)),),
    multi_valued=(),
)
TASKS = [
    Binary("click"),
    Binary("cart", given="click"),
    Binary("buy", given="click"),
    Regression("watch", given="click"),
    Binary("like"),
]
OPTIONS = {"entire_space_paths": {"actions": {"buy": ["cart"]}}, "rejection": {"clip": 0.5}}
SMALL = {"encoder": {"name": "tabular", "embedding_dim": 3, "numeric_dim": 3}, "heads": {"hidden": (4,)}}


def model_of(space, sharing="shared_bottom", tasks=TASKS):
    torch.manual_seed(4)
    options = {"name": space, **OPTIONS.get(space, {})} if isinstance(space, str) else space
    return MultiTaskModel.build(COLUMNS, tasks, sharing={"name": sharing}, space=options, **SMALL)


def batch(click=(1, 1, 0, 0, 1, 0)):
    generator = torch.Generator().manual_seed(2)
    categorical = torch.randint(0, 5, (6, 2), dtype=torch.int32, generator=generator)
    clicked = [value == 1 for value in click]

    def inside(values):
        return [value if yes else NAN for value, yes in zip(values, clicked, strict=True)]

    labels = labels_of(
        click=click,
        cart=inside([1, 0, 0, 0, 1, 0]),
        buy=inside([1, 0, 0, 0, NAN, 0]),
        watch=inside([0.5, -1.0, 0, 0, 2.0, 0]),
        like=[1, NAN, 0, 0, 1, 1],
    )
    return Batch(Features(categorical, torch.randn(6, 1, generator=generator)), labels)


EVERY = [*((space, "mmoe") for space in SPACES), *(("entire_space", other) for other in ("single_task", "ple", "aitm"))]


@pytest.mark.parametrize(("space", "sharing"), EVERY)
def test_every_space_trains_and_predicts_with_every_kind_of_sharing(space, sharing):
    model = model_of(space, sharing)
    assert model.tasks[:5] == tuple(model.space.tasks[:5])
    balancer = Equal([task.name for task in model.tasks])
    optimizer = build_optimizer(model, balancer, lr=0.03)
    found = [train_step(model, balancer, optimizer, batch()).losses for _ in range(6)]
    assert {"click", "cart", "buy", "watch", "like"} <= set(found[0])
    assert found[-1]["click"] < found[0]["click"]
    assert all(loss.isfinite() for loss in found[-1].values())
    predicted = model.eval().predict(batch().features)
    joint = ["click_and_cart", "click_and_buy", "click_and_watch"]
    assert set(predicted) == {task.name for task in TASKS} | set(joint)
    assert all(values.isfinite().all() for values in predicted.values())
    assert all(predicted[name].min() >= 0 and predicted[name].max() <= 1 for name in joint[:2])


@pytest.mark.parametrize("space", SPACES)
def test_every_parameter_is_trained_by_a_whole_batch(space):
    """Heads that have no loss by their own name too."""
    model = model_of(space)
    if "joint_weight" in SPACES[space].__init__.__annotations__:
        model.space.joint_weight = 0.0
    balancer = Equal([task.name for task in model.tasks])
    optimizer = build_optimizer(model, balancer)
    torch.manual_seed(1)
    for _ in range(8):  # rejection may drop all rows of a batch
        train_step(model, balancer, optimizer, batch())
        reached = {
            name for name, parameter in model.heads.named_parameters() if parameter.grad is not None and parameter.grad.any()
        }
        if reached == {name for name, _ in model.heads.named_parameters()}:
            return
    raise AssertionError(set(dict(model.heads.named_parameters())) - reached)


@pytest.mark.parametrize("space", SPACES)
def test_a_batch_without_labels_of_a_task_leaves_what_is_its_own(space):
    model = model_of(space)
    balancer = Equal([task.name for task in model.tasks])
    optimizer = build_optimizer(model, balancer)
    rows = batch()
    train_step(model, balancer, optimizer, rows)
    only = Batch(rows.features, {"like": rows.labels["like"]})
    before = {task.name: [p.clone() for p in private_parameters(model, task.name)] for task in model.tasks}
    assert list(train_step(model, balancer, optimizer, only).losses) == ["like"]
    changed = {
        name
        for name, held in before.items()
        for a, b in zip(held, private_parameters(model, name), strict=True)
        if not torch.equal(a, b)
    }
    assert changed == {"like"}


@pytest.mark.parametrize("space", [name for name in SPACES if name not in ("clicked", "oversample", "rejection", "ips", "snips")])
def test_a_batch_without_a_click_trains_what_lies_behind_it(space):
    model = model_of(space)
    losses = model.losses(model(batch().features), batch((0, 0, 0, 0, 0, 0)).labels)
    assert "buy" in losses
    losses["buy"].backward()
    assert any(p.grad is not None and p.grad.any() for p in private_parameters(model, "buy"))


class Weighing(GramianBalancer):
    """Weights that are known."""

    def weigh(self, measured, losses, names):
        self.seen = measured.gramian
        return torch.tensor([float(2 + self.tasks.index(name)) for name in names], dtype=losses.dtype)


@pytest.mark.parametrize("sharing", ["shared_bottom", "mmoe", "ple", "aitm", "single_task"])
@pytest.mark.parametrize("space", ["entire_space", "entire_space_paths", "counterfactual"])
def test_balancers_of_gradients_tell_losses_that_share_heads_apart(space, sharing):
    """What is shared gets `Σ w_k ∂L_k`, though the loss of a purchase reaches the representation of the click too."""
    model = model_of(space, sharing).double()
    names = [task.name for task in model.tasks]
    rows = batch()
    outputs = model(rows.features._replace(numeric=rows.features.numeric.double()), apart=True)
    losses = model.losses(outputs, rows.labels)
    weights = {name: 2.0 + names.index(name) for name in losses}
    owned = {id(p) for name in names for p in private_parameters(model, name)}
    # Single networks share nothing: there what several losses reach is the network of the click, and losses part at the logits.
    shared = [p for p in model.parameters() if id(p) not in owned] or private_parameters(model, "click")
    each = {name: torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True) for name, loss in losses.items()}
    expected = [
        sum(weights[name] * g[place].to_dense() for name, g in each.items() if g[place] is not None)
        for place in range(len(shared))
    ]
    balancer = Weighing(names, measure="parameters")
    balancer.backward(losses, junction=model.junction(outputs))
    for parameter, wanted in zip(shared, expected, strict=True):
        if isinstance(wanted, torch.Tensor):
            torch.testing.assert_close(parameter.grad.to_dense(), wanted)
    assert balancer.seen.abs().sum() > balancer.seen.diagonal().sum()  # they are not told apart by a trick


@pytest.mark.parametrize("balancer", ["upgrad", "pcgrad", "graddrop", "gradnorm", "metabalance", "famo", "uncertainty", "moco"])
def test_balancers_bear_coupled_losses(balancer):
    for space in ("entire_space", "entire_space_paths"):
        model = model_of(space, "mmoe")
        options = {"main": "buy"} if balancer == "metabalance" else {}
        made = BALANCERS[balancer]([task.name for task in model.tasks], **options)
        optimizer = build_optimizer(model, made)
        for clicks in ((1, 1, 0, 0, 1, 0), (0, 0, 0, 0, 0, 0), (1, 0, 1, 0, 1, 1)):
            assert all(loss.isfinite() for loss in train_step(model, made, optimizer, batch(clicks)).losses.values())
        assert all(p.isfinite().all() for p in model.parameters())


def test_single_networks_are_the_method_without_a_shared_embedding():
    """ESMM-NS: the loss of click and buy trains both networks, of which each has an encoder."""
    model = model_of("entire_space", "single_task", TASKS[:3:2])
    losses = model.losses(model(batch().features), batch().labels)
    losses["buy"].backward()
    for task in ("click", "buy"):
        reached = [p for p in private_parameters(model, task) if p.grad is not None and p.grad.to_dense().any()]
        assert len(reached) >= 5, task
    shared = model_of("entire_space", "shared_bottom", TASKS[:3:2])
    assert len(list(shared.encoders)) == 1  # the code that made ESMM known has an encoder for each task by mistake


def test_the_penalty_is_of_training_only():
    model = model_of({"name": "division", "order_penalty": 5.0})
    rows = batch()
    found = model.penalty(model(rows.features), rows.labels)
    assert found.item() == pytest.approx(model.space.penalty(model(rows.features).by_task).item())
    assert model.eval().penalty(model(rows.features), rows.labels) is None


def test_weights_of_tasks_multiply_losses_of_spaces():
    tasks = [Binary("click"), Binary("buy", given="click", weight=3.0)]
    model = model_of("dr", tasks=tasks)
    outputs = model(batch().features)
    plain, found = model.space.losses(outputs.by_task, batch().labels), model.losses(outputs, batch().labels)
    assert {name: (found[name] / plain[name]).item() for name in found} == pytest.approx(
        {"click": 1.0, "buy": 3.0, "buy_imputed": 3.0}
    )


@pytest.mark.parametrize("space", SPACES)
def test_a_space_keeps_nothing_and_adds_only_its_heads(space):
    plain, model = model_of("clicked"), model_of(space)
    added = {task.name for task in model.space.tasks} - {task.name for task in TASKS}
    extra = set(model.state_dict()) - set(plain.state_dict())
    assert all(any(f"task_{name}" in key for name in added) for key in extra)
    assert set(plain.state_dict()) <= set(model.state_dict())
    other = model_of(space)
    other.load_state_dict(model.state_dict())
    for name, values in model.eval().predict(batch().features).items():
        assert torch.equal(other.eval().predict(batch().features)[name], values)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("clickd", "Unknown space. Received: 'clickd'. Did you mean 'clicked'"),
        ({"name": "ips", "clipp": 0.1}, "Unknown option of space 'ips'. Received: 'clipp'. Did you mean 'clip'"),
    ],
)
def test_mistakes_are_named(space, message):
    with pytest.raises(ConfigError, match=message):
        MultiTaskModel.build(COLUMNS, TASKS, space=space)


def test_heads_that_are_not_those_of_the_space_are_refused():
    names = [task.name for task in TASKS]
    with pytest.raises(ConfigError, match="space's tasks in its order"):
        MultiTaskModel(
            [torch.nn.Linear(4, 4)], SharedBottom(4, names, hidden=(8,)), Heads(8, TASKS), space=EntireSpace(TASKS[:3])
        )
