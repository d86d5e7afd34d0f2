"""Promises of a balancer about what it decides in a step and what it writes."""

from collections.abc import Callable

import torch
from torch import Tensor

from polytask.balancers import Balancer
from polytask.balancers.measures import MEASURES, Measure, build_measure
from polytask.errors import PolytaskError
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
    own_gradients,
    penalty_of,
    same,
    same_steps,
    steps,
)

_EPOCHS = 5
"""Steps on the rails that end two epochs: what looks two epochs back decides something in the last."""
_EXACT = ("parameters", "last_layer")


def measures_gradients(balancer: Balancer) -> bool:
    """Whether weights follow from inner products of gradients."""
    return isinstance(getattr(balancer, "measure", None), Measure)


def check_order(make: MakeBalancer) -> None:
    """Permuting the tasks, or the losses alone, permutes what is decided."""
    expected = steps(made(make), [ALL] * _EPOCHS)
    for order, losses in (ORDERS, ORDERS[::-1]):  # a cycle under a swap, and the other way round
        found = steps(made(make, order), [Rows(losses)] * _EPOCHS)
        same_steps(expected, found, "permuting the tasks or the losses changes what is decided")


def check_single_task(make: MakeBalancer, *, plain: bool) -> None:
    """One task alone trains as without a balancer, or at the weight that the balance states."""
    balancer, alone = made(make, ["buy"]), Rows(("buy",))
    (step,) = steps(balancer, [alone])
    assert set(step.balance.weights) == {"buy"}, "one task alone: the balance names other tasks"
    scale = torch.ones(()) if plain else step.balance.weights["buy"]
    own = own_gradients(Rails(["buy"]), alone)["buy"]
    expected = {name: scaled(scale, gradient) for name, gradient in own.items()}
    promise = "one task alone is not trained as without a balancer"
    if balancer.compares_gradients:
        expected |= {name: gradient for name, gradient in own.items() if name.startswith("heads")}
    same(expected, step.gradients, promise)


def scaled(by: Tensor, gradient: Tensor | None) -> Tensor | None:
    """A gradient times a number."""
    return None if gradient is None else by * gradient


def check_balance(make: MakeBalancer) -> None:
    """The balance is detached, names the tasks that are there, and says what was done."""
    balancer = made(make)
    net, seen = Rails(balancer.tasks), [ALL, Rows(("time", "buy")), ALL, Rows(("buy", "click"))]
    for time, rows in enumerate(seen):
        (step,) = steps(balancer, [rows], net=net, start=time)
        balance, losses = step.balance, net.at(time).losses(rows)[0]
        assert list(balance.losses) == list(rows.names), "the balance names other tasks than had a loss"
        assert set(balance.weights) == set(rows.names), "the balance has a weight of a task that had no loss, or lacks one"
        same(losses, balance.losses, "the balance has other losses")
        kept = [*balance.losses.values(), *balance.weights.values(), *([] if balance.gramian is None else [balance.gramian])]
        assert not any(value.requires_grad for value in kept), "the balance holds on to the graph"
        assert all(not weight.dim() for weight in balance.weights.values()), "a weight is no scalar"
        _check_written(balancer, net, rows, step)


def _check_written(balancer: Balancer, net: Rails, rows: Rows, step: Step) -> None:
    """What is shared gets the weighted gradients where weights decide it; what is private gets its own."""
    own, weights = own_gradients(net, rows), step.balance.weights
    apart = balancer.compares_gradients
    for name, gradient in step.gradients.items():
        if name.startswith("trunk") and apart and not measures_gradients(balancer):
            continue  # coordinates decide; what the weights say of them is the method's own
        shared = name.startswith("trunk")
        parts = [scaled(torch.ones(()) if apart and not shared else weights[task], own[task][name]) for task in rows.names]
        present = [part for part in parts if part is not None]
        expected = torch.stack(present).sum(0) if present else None
        what = "what is shared has not the weighted gradient" if shared else "what is private to a task has not its own gradient"
        if apart or shared:
            assert equal(gradient, expected), f"{what}: {name}, {expected} is wanted, got {gradient}"
        else:
            assert equal(gradient, expected), f"a head has not its task's weighted gradient: {name}, {expected}, got {gradient}"


def check_gramian(make: MakeBalancer) -> None:
    """Inner products in the order of the losses, symmetric, with no eigenvalue below 0; exact where measured exactly."""
    if not measures_gradients(made(make)):
        return
    for rows in (ALL, Rows(ORDERS[0]), Rows(("time", "click"))):
        for name in (None, *_EXACT):
            balancer = made(make)
            if name is not None:
                balancer.measure = build_measure(name)
            (step,) = steps(balancer, [rows])
            gramian = step.balance.gramian
            assert gramian is not None, "gradients were compared, but the balance has no Gramian"
            assert gramian.shape == (len(rows.names),) * 2, "the Gramian has not a row for each present task"
            assert torch.equal(gramian, gramian.mT), "the Gramian is not symmetric"
            assert torch.linalg.eigvalsh(gramian)[0] >= -1e-9 * gramian.trace(), "the Gramian has an eigenvalue below 0"
            jacobian = torch.stack([_shared(found) for found in own_gradients(Rails(balancer.tasks), rows).values()])
            if name is not None:
                exact = jacobian @ jacobian.mT
                assert equal(gramian, exact), f"the Gramian is not that of the gradients: {exact} is wanted, got {gramian}"


def _shared(found: dict[str, Tensor | None]) -> Tensor:
    parts = [gradient for name, gradient in found.items() if name.startswith("trunk")]
    return torch.cat([part.flatten() for part in parts if part is not None])


def check_places(make: MakeBalancer) -> None:
    """However the place where tasks part is told, the step is the same; no measure writes anything of its own."""
    expected = steps(made(make), [ALL, Rows(("time", "buy")), ALL])
    coordinates = made(make).compares_gradients and not measures_gradients(made(make))
    for place in ("junction", "outputs", *(() if coordinates else ("shared",))):  # for there other coordinates are seen
        found = steps(made(make), [ALL, Rows(("time", "buy")), ALL], place=place)
        same_steps(expected, found, f"a step differs where the place is told as {place!r}")
    if coordinates:
        (step,) = steps(made(make), [ALL], place="shared")
        assert step.shared().isfinite().all(), "what is shared got no number where the place is told as 'shared'"
    if measures_gradients(made(make)):
        for measure in MEASURES:
            _check_measure(make, measure)


def _check_measure(make: MakeBalancer, measure: str) -> None:
    balancer = made(make)
    balancer.measure = build_measure(measure)
    net = Rails(balancer.tasks)
    for time in range(2):
        try:
            (step,) = steps(balancer, [ALL], net=net, start=time, place="outputs")
        except PolytaskError:  # a method may refuse a measure, by name
            return
        assert all(weight.isfinite() for weight in step.balance.weights.values()), f"a weight is no number by {measure!r}"
        _check_written(balancer, net.at(time), ALL, step)


def check_adding(make: MakeBalancer) -> None:
    """Gradients are added to what is in `.grad`: two micro-batches are the sum of both."""
    apart, together = made(make), made(make)
    first, second = Rows(), Rows(("time", "click"))
    expected: list[dict[str, Tensor | None]] = []
    for balancer in (apart, together):
        net = Rails(balancer.tasks)
        for time, rows in enumerate((first, second)):
            torch.default_generator.manual_seed(time)
            backward(balancer, _inputs(net, time), rows)
            if balancer is apart:
                expected.append(net.take() | {f"own {name}": _taken(p) for name, p in balancer.named_parameters()})
    found = net.take() | {f"own {name}": parameter.grad for name, parameter in together.named_parameters()}
    one, other = expected
    wanted = {name: _added(one[name], other[name]) for name in one}
    same(wanted, found, "gradients are not added to those of an earlier micro-batch")


def _inputs(net: Rails, time: int) -> Rails:
    """Another batch, the same parameters."""
    inputs = Rails(net.tasks).at(time).x
    net.x = inputs
    return net


def _taken(parameter: Tensor) -> Tensor | None:
    gradient, parameter.grad = parameter.grad, None
    return gradient


def _added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other


def check_penalty(make: MakeBalancer) -> None:
    """A penalty is added whatever the weights, and changes none."""
    for place in ("graph", "outputs"):
        without, with_penalty = made(make), made(make)
        for time in range(2):
            net = Rails().at(time)
            torch.default_generator.manual_seed(time)
            expected = backward(without, net, ALL, place=place)
            plain = net.take()
            penalty_of(net, net.losses(ALL)[1]).backward()  # type: ignore[no-untyped-call]
            alone = net.take()
            torch.default_generator.manual_seed(time)
            found = backward(with_penalty, net, ALL, place=place, penalty=True)
            same(expected.weights, found.weights, "a penalty changes the weights")
            wanted = {name: _added(gradient, alone[name]) for name, gradient in plain.items()}
            same(wanted, net.take(), "a penalty is not added as it is")


def check_scale(make: MakeBalancer, scale: str) -> None:
    """How the shared gradient follows the units of the losses is as declared.

    "invariant": another unit of any one loss leaves its direction; "equivariant": all losses times a number give the gradient
    times that number, and the direction depends on each unit; "none": neither.
    """
    plain = steps(made(make), [ALL] * _EPOCHS)
    follows = all(
        equal(other.shared(), factor * one.shared())
        for factor in (5.0, 0.3)
        for one, other in zip(plain, steps(made(make), [Rows(units=dict.fromkeys(TASKS, factor))] * _EPOCHS), strict=True)
    )
    stays = all(
        equal(_unit(other.shared()), _unit(one.shared()))
        for units in ({"buy": 4.0}, {"time": 30.0})
        for one, other in zip(plain, steps(made(make), [Rows(units=units)] * _EPOCHS), strict=True)
    )
    found = "invariant" if stays else "equivariant" if follows else "none"
    assert found == scale, f"the shared gradient is declared {scale!r} under other units of the losses, but is {found!r}"


def _unit(gradient: Tensor) -> Tensor:
    return torch.nn.functional.normalize(gradient, dim=0)


def check_no_conflict(make: MakeBalancer) -> None:
    """A small step goes up for no task, to first order."""
    for seed in range(10):
        balancer = made(make)
        if measures_gradients(balancer):
            balancer.measure = build_measure("parameters")
        net = Rails(balancer.tasks, seed=seed)
        (step,) = steps(balancer, [ALL], net=net)
        direction = step.shared()
        for task, found in own_gradients(net.at(0), ALL).items():
            gradient = _shared(found)
            inner = torch.dot(direction, gradient) / (direction.norm() * gradient.norm()).clamp_min(1e-300)
            assert inner >= -1e-6, f"the shared gradient conflicts with that of {task!r}: cosine {inner}"


def check_mistakes(make: MakeBalancer) -> None:
    """No loss, an unknown task, and a task named twice are refused by a `PolytaskError`."""
    balancer, net = made(make), Rails()
    losses = net.losses(ALL)[0]
    attempts: dict[str, Callable[[], object]] = {
        "no loss": lambda: balancer.backward({}),
        "a loss of an unknown task": lambda: balancer.backward({"clik": losses["click"]}),
        "a task named twice": lambda: make(("buy", "buy")),
    }
    for what, attempt in attempts.items():
        try:
            attempt()
        except PolytaskError:
            continue
        raise AssertionError(f"{what} is taken without a word")
