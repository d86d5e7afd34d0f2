"""Promises of a balancer about more than one step: tasks that are away or broken, state, random numbers, number formats."""

import copy
import re
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polytask import checkpoint
from polytask.balancers import Balancer
from polytask.testing._promises_of_balance import measures_gradients
from polytask.testing._rails import (
    ALL,
    ORDERS,
    TASKS,
    MakeBalancer,
    Rails,
    Rows,
    Step,
    backward,
    equal,
    made,
    same,
    same_steps,
    steps,
)

_OTHERS = ("click", "time")
_AWAY = Rows(_OTHERS)

_BROKEN = {"nan": "a NaN loss of 'buy'", "inf": "an infinite loss of 'buy'", "gradient": "a NaN gradient of 'buy'"}


def check_absence(make: MakeBalancer, *, changes_others: bool) -> None:
    """A task without a loss leaves its own state and parameters alone, and the others' weights as declared."""
    for start, missing in ((0, "buy"), (2, "click"), (2, "buy"), (4, "time")):
        balancer, others = made(make), tuple(name for name in TASKS if name != missing)
        steps(balancer, [ALL] * start)
        before, full = copy.deepcopy(balancer.state_dict()), copy.deepcopy(balancer)
        (step,) = steps(balancer, [Rows(others)], start=start)
        assert set(step.balance.losses) == set(step.balance.weights) == set(others), "an absent task appears in the balance"
        grown = [name for name, gradient in (step.own | step.gradients).items() if _of(name, missing) and gradient is not None]
        assert not grown, f"an absent task's parameter got a gradient: {grown}"
        moved = _moved(before, balancer.state_dict(), missing)
        assert not moved, f"an absent task's state changed: {moved}"
        if start and not changes_others:  # a task that was never seen need not count
            (whole,) = steps(full, [ALL], start=start)
            expected = {name: whole.balance.weights[name] for name in others}
            same(expected, step.balance.weights, "an absence changes the others' weights")
    if changes_others:
        _check_as_without(make)


def _of(name: str, task: str) -> bool:
    """Whether a parameter or a part of the state is of a task, by its name."""
    return task in re.split(r"[._]", name)


def _moved(before: dict[str, Tensor], after: dict[str, Tensor], missing: str) -> list[str]:
    """What of an absent task's state is other than it was."""
    place = sorted(TASKS).index(missing)
    moved = [name for name in before if _of(name, missing) and not torch.equal(before[name], after[name])]
    for name, value in before.items():
        if name.rpartition(".")[2] == "pairs":
            change = value - after[name]
            moved += [f"{name} of {missing}"] if change[place].any() or change[:, place].any() else []
    return moved


def _check_as_without(make: MakeBalancer) -> None:
    """Weights are shared out among those present: as by a balancer that never heard of the others."""
    found, expected = steps(made(make), [_AWAY] * 3), steps(made(make, _OTHERS), [_AWAY] * 3)
    whole = steps(made(make), [ALL] * 3)
    promise = "weights are declared to be shared out among the present tasks, but are not those of a balancer of these alone"
    for one, other in zip(expected, found, strict=True):
        same(one.balance.weights, other.balance.weights, promise)
    unlike = any(
        not equal(one.balance.weights[name], other.balance.weights[name])
        for one, other in zip(whole, found, strict=True)
        for name in _OTHERS
    )
    assert unlike, "an absence is declared to change the others' weights, but does not"


def check_not_a_number(make: MakeBalancer) -> None:
    """A loss that is no number is named, stays in its own task, and counts as an absence."""
    for start in (0, 2):  # no epoch ends with the next step
        for how in _BROKEN if made(make).compares_gradients else ("nan",):
            balancer = made(make)
            steps(balancer, [ALL] * start)
            other = copy.deepcopy(balancer)
            (found,) = steps(balancer, [Rows(broken="buy", how=how)], start=start)
            (away,) = steps(other, [_AWAY], start=start)
            what = _BROKEN[how]
            _check_as_away(balancer, found, away, what)
            _check_state_of_others(balancer, other, what)
            (after,) = steps(balancer, [ALL], start=start + 1)
            lost = [name for name, weight in after.balance.weights.items() if not weight.isfinite()]
            assert not lost, f"after {what} the weights of {lost} are no numbers"


def _check_as_away(balancer: Balancer, found: Step, away: Step, what: str) -> None:
    loss, weight = found.balance.losses["buy"], found.balance.weights["buy"]
    assert what == _BROKEN["gradient"] or not loss.isfinite(), "the balance hides a loss that is no number"
    same(away.balance.weights, found.balance.weights, f"{what} changes the others' weights from those of its absence")
    reached = {name: gradient for name, gradient in away.gradients.items() if _of(name, "click") or _of(name, "time")}
    same(reached, found.gradients, f"{what} reaches another task's head")
    own = {name: gradient for name, gradient in away.own.items() if "buy" not in name}
    same(own, found.own, f"{what} reaches the balancer's parameters of other tasks")
    if balancer.compares_gradients:  # by losses alone it reaches all that its task uses, and the page of the family says so
        assert weight.isnan() or weight == 0, f"{what} has the weight {weight}"
        trunk = {name: gradient for name, gradient in away.gradients.items() if name.startswith("trunk")}
        same(trunk, found.gradients, f"{what} reaches what is shared")


def _check_state_of_others(balancer: Balancer, away: Balancer, what: str) -> None:
    parameters = {name for name, _ in balancer.named_parameters() if "buy" in name}
    found = {name: value for name, value in balancer.state_dict().items() if name not in parameters}
    others = [name for name, value in found.items() if not isinstance(value, Tensor)]
    assert not others, f"the state holds more than tensors: {others}"
    expected = {name: value for name, value in away.state_dict().items() if name not in parameters}
    same(expected, found, f"{what} leaves another state than its absence")


def check_state(make: MakeBalancer) -> None:
    """State goes through `state_dict` and a checkpoint by task name, in another order, and the run goes on as it would have."""
    seen = [ALL, Rows(("time", "buy")), ALL, _AWAY, ALL]
    balancer = made(make)
    steps(balancer, seen)
    state = balancer.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder) / "kept", {"balancer": state})
        kept = checkpoint.load(Path(folder) / "kept")["balancer"]
    restored = {"state_dict": (made(make), copy.deepcopy(state))}
    restored |= {f"a checkpoint, tasks in the order {order}": (made(make, order), kept) for order in ORDERS}
    for other, content in restored.values():
        other.load_state_dict(content)
    expected = steps(balancer, [_AWAY, ALL, ALL, ALL], start=len(seen))
    for how, (other, _) in restored.items():
        found = steps(other, [_AWAY, ALL, ALL, ALL], start=len(seen))
        same_steps(expected, found, f"the run does not go on as it would have after {how}: state is lost or not by task name")


def check_random(make: MakeBalancer, *, draws: bool) -> None:
    """A seed decides everything; no global random state is used unless declared, and then torch's alone."""
    one, other = (steps(made(make), [ALL, _AWAY, ALL]) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        all_of_a, all_of_b = ({**step.gradients, **step.own, **step.balance.weights} for step in (a, b))
        assert all(_same_bits(value, all_of_b[name]) for name, value in all_of_a.items()), "two runs of one seed differ"
    balancer, net, drawn, others = made(make), Rails(), 0, 0
    for time, rows in enumerate([ALL, _AWAY, ALL]):
        net.at(time)
        torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002
        backward(balancer, net, rows)
        balancer.after_epoch()
        drawn += not torch.equal(torch_state, torch.get_rng_state())
        others += repr(np.random.get_state()) != numpy_state  # noqa: NPY002
    assert not others, "a step draws from numpy's global random state"
    assert draws or not drawn, "a step draws from torch's global random state"
    assert drawn or not draws, "it is declared to draw from torch's global random state, but does not"


def _same_bits(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other is None or (one is not None and other is not None and torch.equal(one, other))


def check_formats(make: MakeBalancer) -> None:
    """float32, float64 beside a state in float32, and bfloat16 under autocast give nearly the same."""
    seen = [ALL, _AWAY, ALL]
    expected = steps(made(make), seen)
    by_coordinates = made(make).compares_gradients and not measures_gradients(made(make))
    near, nearer = (0.9, 0.9) if by_coordinates else (0.95, 0.999)  # what is drawn for coordinates differs between types
    for dtype in (torch.float32, torch.float64):
        found = steps(make(TASKS), seen, net=Rails(dtype=dtype))
        for one, other in zip(expected, found, strict=True):
            assert all(gradient is None or gradient.dtype == dtype for gradient in other.gradients.values())
            cosine = torch.cosine_similarity(one.shared(), other.shared().double(), 0)
            assert cosine > nearer, f"the shared gradient is another one in {dtype}: cosine {cosine}"
    net, balancer = Rails(dtype=torch.float32), make(TASKS)
    with torch.autocast("cpu", torch.bfloat16):
        losses, z, _ = net.losses(ALL)
    assert z.dtype == torch.bfloat16
    torch.default_generator.manual_seed(0)
    balance = balancer.backward(losses)
    assert all(weight.isfinite() for weight in balance.weights.values()), "a weight is no number under autocast to bfloat16"
    direction = torch.cat([p.grad.flatten().double() for p in net.trunk.parameters() if p.grad is not None])
    cosine = torch.cosine_similarity(expected[0].shared(), direction, 0)
    assert cosine > near, f"the shared gradient is another one under autocast to bfloat16: cosine {cosine}"


def check_every(make: MakeBalancer) -> None:
    """Between measurements the last weights are used; all other promises hold there too."""
    if not (measures_gradients(made(make)) and hasattr(made(make), "every")):
        return
    balancer: Balancer = made(make)
    balancer.every = 3  # type: ignore[assignment]
    seen = [ALL, Rows(ORDERS[0]), _AWAY, ALL, ALL, Rows(broken="buy"), ALL]
    found = steps(balancer, seen)
    measured = [step.balance.gramian is not None for step in found]
    assert measured == [time % 3 == 0 for time in range(len(seen))], f"of every 3 steps the first is measured, but {measured}"
    for time in (1, 2, 4):
        last = found[time - time % 3].balance.weights
        kept = {name: last[name] for name in found[time].balance.weights}
        same(kept, found[time].balance.weights, "between measurements weights are not the last ones")
    broken = found[5]
    finite = [gradient for name, gradient in broken.gradients.items() if "buy" not in name and gradient is not None]
    assert all(gradient.isfinite().all() for gradient in finite), "between measurements a NaN loss reaches other tasks"
    assert broken.balance.weights["buy"] == 0 or broken.balance.weights["buy"].isnan(), "a NaN loss has a weight"
