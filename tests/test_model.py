"""MultiTaskModel: built by name, parts that fit, private encoders, losses of what is present, export, parts counted."""

from types import SimpleNamespace

import pytest
import torch

from polytask.batch import Features, Labels
from polytask.errors import ConfigError
from polytask.heads import Heads
from polytask.model import MultiTaskModel, describe_model
from polytask.sharing import SHARINGS, MMoE, SharedBottom, SingleTask, describe_sharing, private_parameters
from polytask.tasks import Binary, Regression

COLUMNS = SimpleNamespace(
    categorical=(SimpleNamespace(name="user", size=11), SimpleNamespace(name="item", size=5)),
    numeric=(SimpleNamespace(name="age", edges=(-1.0, 0.0, 2.0)),),
    multi_valued=(),
)
TASKS = [Binary("click"), Binary("buy", reads=("click",), auxiliary=True), Regression("time", weight=0.5)]
ALL = list(SHARINGS)


def features(rows=6):
    generator = torch.Generator().manual_seed(2)
    categorical = torch.randint(0, 5, (rows, 2), dtype=torch.int32, generator=generator)
    return Features(categorical, torch.randn(rows, 1, generator=generator))


@pytest.mark.parametrize("sharing", ALL)
def test_built_by_name(sharing):
    model = MultiTaskModel.build(COLUMNS, TASKS, sharing=sharing, heads={"hidden": (7,)})
    outputs = model(features())
    assert {name: tuple(output.shape) for name, output in outputs.by_task.items()} == dict.fromkeys(
        ["click", "buy", "time"], (6, 1)
    )
    assert set(model.predict(features())) == {"click", "time"}


def test_options_reach_their_part():
    encoder = {"name": "tabular", "embedding_dim": 3, "numeric_dim": 4}
    model = MultiTaskModel.build(COLUMNS, TASKS, encoder=encoder, sharing={"name": "mmoe", "num_experts": 5, "hidden": (9,)})
    assert model.encoders[0].out_features == 3 * 2 + 4
    assert model(features()).shared.gates.shape == (3, 6, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sharing": "mmoo"}, "Unknown sharing. Received: 'mmoo'. Did you mean 'mmoe'"),
        (
            {"sharing": {"name": "mmoe", "num_expert": 3}},
            "Unknown option of sharing 'mmoe'. Received: 'num_expert'. Did you mean 'num_experts'",
        ),
        ({"sharing": {"num_experts": 3}}, "Unknown sharing. Received: ''"),
        ({"encoder": "tabula"}, "Did you mean 'tabular'"),
        ({"heads": {"hiden": (3,)}}, "Unknown option of heads. Received: 'hiden'. Did you mean 'hidden'"),
        ({"heads": {"in_features": 3}}, "Unknown option of heads"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        MultiTaskModel.build(COLUMNS, TASKS, **options)


def test_parts_that_do_not_fit_are_refused():
    linear = torch.nn.Linear(4, 4)
    heads = Heads(8, TASKS)
    names = [task.name for task in TASKS]
    with pytest.raises(ConfigError, match=r"SingleTask needs 3 encoder\(s\)\. Received: 1"):
        MultiTaskModel([linear], SingleTask(4, names, hidden=(8,)), heads)
    with pytest.raises(ConfigError, match="in its order"):
        MultiTaskModel([linear], SharedBottom(4, names[::-1], hidden=(8,)), heads)
    with pytest.raises(ConfigError, match=r"width 5\. Received: 4"):
        MultiTaskModel([linear], SharedBottom(5, names, hidden=(8,)), heads)
    with pytest.raises(ConfigError, match=r"give width 9\. Received: heads of width 8"):
        MultiTaskModel([linear], SharedBottom(4, names, hidden=(9,)), heads)


def test_single_task_owns_its_encoders_and_nothing_else_reaches_them():
    model = MultiTaskModel.build(COLUMNS, TASKS, sharing="single_task")
    owned = {task.name: {id(p) for p in private_parameters(model, task.name)} for task in TASKS}
    assert set().union(*owned.values()) == {id(p) for p in model.parameters()}
    loss = model(features()).by_task["buy"].square().sum()
    for task in ("click", "time"):
        found = torch.autograd.grad(
            loss, [p for p in private_parameters(model, task) if not p.is_sparse], retain_graph=True, allow_unused=True
        )
        assert all(gradient is None or not gradient.to_dense().any() for gradient in found)


def test_losses_are_those_of_tasks_with_labels_times_their_weight():
    model = MultiTaskModel.build(COLUMNS, TASKS, sharing="shared_bottom")
    outputs = model(features(4))
    nan = float("nan")
    labels = {
        "click": Labels.of(torch.tensor([1.0, 0.0, nan, 1.0])),
        "buy": Labels.of(torch.full((4,), nan)),
        "time": Labels.of(torch.tensor([0.3, nan, nan, 1.0])),
    }
    losses = model.losses(outputs, labels)
    assert list(losses) == ["click", "time"]
    assert losses["time"].item() == pytest.approx(0.5 * TASKS[2].loss(outputs.by_task["time"], labels["time"]).item())


@pytest.mark.parametrize("sharing", ["single_task", "shared_bottom", "mmoe", "ple"])  # alone, all are: `check_sharing`
def test_exports_with_any_number_of_rows(sharing):
    model = MultiTaskModel.build(COLUMNS, TASKS, sharing=sharing, heads={"hidden": (7,)}).eval()
    rows = torch.export.Dim("rows", min=2)
    shapes = {"features": Features({0: rows}, {0: rows}, {})}
    exported = torch.export.export(model, (features(),), dynamic_shapes=shapes).module()
    found, expected = exported(features(9)).by_task, model(features(9)).by_task
    for name, output in expected.items():
        torch.testing.assert_close(found[name], output)


@pytest.mark.parametrize("sharing", ALL)
def test_state_goes_round(sharing):
    torch.manual_seed(0)
    model, other = (MultiTaskModel.build(COLUMNS, TASKS, sharing=sharing) for _ in range(2))
    other.load_state_dict(model.state_dict())
    model.eval(), other.eval()  # some draw in training
    for name, output in model(features()).by_task.items():
        assert torch.equal(other(features()).by_task[name], output)


def test_parts_are_counted():
    model = MultiTaskModel.build(
        COLUMNS, TASKS, sharing={"name": "mmoe", "num_experts": 2, "hidden": (3,)}, heads={"hidden": (5,)}
    )
    parts = {part.name: part for part in describe_model(model, features())}
    width = model.encoders[0].out_features
    sharing = parts["sharing"]
    assert sharing.parameters == 2 * (width + 1) * 3 + 3 * 2 * width
    assert sharing.private == dict.fromkeys(["click", "buy", "time"], 2 * width)
    assert sharing.flops == 2 * (2 * 3 * width + 3 * 2 * width + 3 * 2 * 3)  # experts, gates, mixtures
    assert parts["heads"].private == {"click": 3 * 5 + 5 + 6, "buy": 4 * 5 + 5 + 6, "time": 3 * 5 + 5 + 6}
    assert parts["heads"].flops == 2 * sum(private - 6 for private in parts["heads"].private.values())
    whole = parts["model"]
    assert (
        whole.parameters
        == sum(p.numel() for p in model.parameters())
        == sum(parts[k].parameters for k in ("encoder", "sharing", "heads"))
    )
    assert whole.flops == sum(parts[k].flops for k in ("encoder", "sharing", "heads"))
    assert model.training


def test_single_task_counts_its_encoders_as_private():
    model = MultiTaskModel.build(COLUMNS, TASKS, sharing="single_task")
    encoder = describe_model(model, features())[0]
    assert sum(encoder.private.values()) == encoder.parameters
    assert MMoE.num_inputs == 1


@pytest.mark.parametrize("sharing", [*ALL, {"name": "tensor_factorization", "kind": "laf"}])
def test_operations_of_every_sharing_are_counted(sharing):
    model = MultiTaskModel.build(COLUMNS, TASKS, sharing=sharing)
    part = {part.name: part for part in describe_model(model, features())}["sharing"]
    assert part.flops > 0  # laf: its junction is a view of weights, which no_grad and the counter do not bear together
    shape = (
        (6, model.sharing.in_features)
        if model.sharing.num_inputs == 1
        else (model.sharing.num_inputs, 6, model.sharing.in_features)
    )
    assert part == describe_sharing(model.sharing, torch.zeros(shape))
