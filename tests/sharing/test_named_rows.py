"""Gates over the experts of all tasks: their state is kept by name."""

import copy
import pickle

import pytest
import torch

from polytask import checkpoint
from polytask.sharing import AdaTT
from polytask.sharing._named_rows import gate_over_all


def gate(tasks, num_shared=1):
    return gate_over_all(4, tasks, 2, num_shared, hidden=(3,), activation="relu")


def test_rows_follow_their_owners():
    one, other = gate(["click", "buy"]), gate(["buy", "click"])
    other.load_state_dict(one.state_dict())
    x = torch.randn(5, 4)
    torch.testing.assert_close(other(x)[..., [2, 3, 0, 1, 4]], one(x))
    assert [name for name in one.state_dict() if name.startswith("layers.1")] == [
        "layers.1.weight.task_click",
        "layers.1.weight.task_buy",
        "layers.1.weight.shared",
    ]


def test_the_state_shares_memory_with_the_weight_as_every_state_does():
    made = gate(["click", "buy"])
    made.state_dict()["layers.1.weight.task_buy"].fill_(7.0)
    assert (made.layers[1].weight[0, 2:4] == 7).all()
    assert isinstance(made.state_dict(keep_vars=True)["layers.1.weight"], torch.nn.Parameter)


def test_a_task_called_shared_is_another_than_the_shared_ones():
    assert "layers.1.weight.task_shared" in gate(["shared", "buy"]).state_dict()


def test_state_of_other_tasks_is_refused_by_name():
    with pytest.raises(RuntimeError, match=r"weight\.task_like"):
        gate(["click", "buy"]).load_state_dict(gate(["click", "like"]).state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        gate(["click", "buy"]).load_state_dict(gate(["click", "buy"], num_shared=2).state_dict())


def test_copies_pickles_and_checkpoints_keep_it(tmp_path):
    model = AdaTT(4, ["click", "buy"], num_shared_experts=1)
    x = torch.randn(5, 4)
    expected = model(x).outputs
    assert torch.equal(copy.deepcopy(model)(x).outputs, expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x).outputs, expected)
    checkpoint.save(tmp_path / "a.safetensors", {"model": model.state_dict()})
    other = AdaTT(4, ["buy", "click"], num_shared_experts=1)
    other.load_state_dict(checkpoint.load(tmp_path / "a.safetensors")["model"])
    torch.testing.assert_close(other(x).outputs[[1, 0]], expected)
