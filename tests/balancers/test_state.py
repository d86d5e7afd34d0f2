"""State of tasks: by name in and out, what is absent stays, what was given before stays what it was."""

import pytest
import torch

from polytask.balancers._state import Count, PairState, PerTaskState

TASKS = ("b", "a", "c")
OTHER = ("c", "b", "a")
PAIRS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])


def filled():
    state = PerTaskState(TASKS, fill=0.5)
    state.put(("c", "b"), torch.tensor([3.0, 1.0]))
    return state


def test_values_are_of_names_in_any_order():
    state = filled()
    assert state.value.tolist() == [1.0, 0.5, 3.0]
    assert state.at(("a", "c")).tolist() == [0.5, 3.0]
    assert state.at(TASKS).tolist() == [1.0, 0.5, 3.0]


@pytest.mark.parametrize("names", [TASKS, ("a", "c")])
def test_what_was_given_does_not_change_when_values_are_put(names):
    for state, value in ((filled(), torch.zeros(3)), (PairState(TASKS, fill=1.0), torch.zeros(3, 3))):
        before = state.at(names)
        kept = before.clone()
        state.put(TASKS, value)
        assert torch.equal(before, kept)
        assert not state.at(names).any()


def test_what_is_put_may_change_afterwards():
    state, values = filled(), torch.tensor([7.0, 8.0, 9.0])
    state.put(TASKS, values)
    values.zero_()
    assert state.value.tolist() == [7.0, 8.0, 9.0]


def test_vectors_take_the_place_of_numbers_once_and_others_keep_the_fill():
    state = filled()
    state.put(("a",), torch.tensor([[1.0, 2.0]]))
    assert state.value.tolist() == [[0.5, 0.5], [1.0, 2.0], [0.5, 0.5]]
    state.put(("c",), torch.tensor([[3.0, 4.0]]))
    assert state.value.tolist() == [[0.5, 0.5], [1.0, 2.0], [3.0, 4.0]]


def test_no_graph_is_kept_and_the_type_stays():
    state = filled()
    state.put(("a",), torch.tensor([2.0], dtype=torch.float64, requires_grad=True) * 3)
    assert state.value.dtype == torch.float32
    assert not state.value.requires_grad


@pytest.mark.parametrize("vectors", [False, True])
def test_a_state_dict_is_by_name(vectors):
    state = filled()
    if vectors:
        state.put(TASKS, torch.arange(6.0).view(3, 2))
    found = state.state_dict()
    assert sorted(found) == ["task_a", "task_b", "task_c"]
    other = PerTaskState(OTHER)
    other.load_state_dict(found)
    assert torch.equal(other.at(TASKS), state.value)


def test_a_state_dict_is_a_copy():
    state = filled()
    found = state.state_dict()
    state.put(TASKS, torch.zeros(3))
    assert found["task_c"] == 3.0


def test_other_tasks_are_named():
    with pytest.raises(RuntimeError, match=r"Missing.*task_d[\s\S]*Unexpected.*task_c"):
        PerTaskState(("a", "b", "d")).load_state_dict(filled().state_dict())
    kept = PerTaskState(("a", "d"), fill=9.0)
    kept.load_state_dict(filled().state_dict(), strict=False)
    assert kept.value.tolist() == [9.0, 9.0]  # all or nothing: a mixture of two runs is neither


def test_state_of_a_module_has_its_prefix():
    class Holder(torch.nn.Module):
        def __init__(self, tasks):
            super().__init__()
            self.mean, self.pairs, self.count = PerTaskState(tasks), PairState(tasks), Count()

    one, other = Holder(TASKS), Holder(OTHER)
    one.mean.put(("a",), torch.tensor([4.0]))
    one.pairs.put(TASKS, PAIRS)
    one.count.next()
    assert set(one.state_dict()) == {"mean.task_a", "mean.task_b", "mean.task_c", "pairs.pairs", "count.times"}
    other.load_state_dict(one.state_dict())
    assert other.mean.at(("a", "b")).tolist() == [4.0, 0.0]
    assert torch.equal(other.pairs.at(TASKS), PAIRS)
    assert other.count.next() == 1


def test_pairs_are_of_names_and_have_a_direction():
    pairs = PairState(TASKS)
    pairs.put(TASKS, PAIRS)
    assert pairs.at(("c", "a")).tolist() == [[9.0, 8.0], [6.0, 5.0]]
    pairs.put(("c", "a"), torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]))
    assert pairs.value.tolist() == [[1.0, 2.0, 3.0], [4.0, -4.0, -3.0], [7.0, -2.0, -1.0]]


def test_pairs_are_saved_in_the_order_of_the_names():
    pairs, other = PairState(TASKS), PairState(OTHER)
    pairs.put(TASKS, PAIRS)
    assert pairs.state_dict()["pairs"].tolist() == [[5.0, 4.0, 6.0], [2.0, 1.0, 3.0], [8.0, 7.0, 9.0]]
    other.load_state_dict(pairs.state_dict())
    assert torch.equal(other.at(TASKS), PAIRS)
    with pytest.raises(RuntimeError, match=r"pairs of 3 tasks cannot be those of 2"):
        PairState(("a", "b")).load_state_dict(pairs.state_dict())
    with pytest.raises(RuntimeError, match=r"Missing.*pairs"):
        PairState(TASKS).load_state_dict({})


def test_a_count_begins_at_zero_and_goes_on_where_it_was():
    count = Count()
    assert [count.next() for _ in range(3)] == [0, 1, 2]
    other = Count()
    other.load_state_dict(count.state_dict())
    assert other.next() == 3
    assert count.times == 3
    with pytest.raises(RuntimeError, match=r"Missing.*times"):
        other.load_state_dict({})
