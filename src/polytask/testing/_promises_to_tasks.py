"""Promises of a sharing to its tasks: what each gets, who trains what, where they part."""

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from polytask.sharing import PerTask, Shared, Sharing, private_parameters
from polytask.testing._probe import (
    ORDERS,
    ROWS,
    TASKS,
    MakeSharing,
    close,
    gradients,
    made,
    permuted,
    permuted_input,
    private_ids,
    size,
    trainable,
    trained_once,
)

_CLOSE = 1e-9  # float64


def check_shapes(make: MakeSharing) -> None:
    """Names, number of inputs, shape and type of what comes out; three tasks and one."""
    for tasks in (TASKS, TASKS[:1]):
        sharing, x = made(make, tasks)
        alone = " for one task only" if len(tasks) == 1 else ""
        assert sharing.tasks == tuple(tasks), f"the sharing forgets its tasks{alone}"
        allowed = (1, len(tasks), len(tasks) + 1)
        assert sharing.num_inputs in allowed, f"it asks for another number of encoders than 1, k or k + 1{alone}"
        for shared in (sharing(x), trained_once(sharing, x)):
            assert isinstance(shared, Shared), f"forward gives no Shared{alone}"
            expected, found = (len(tasks), ROWS, sharing.out_features), tuple(shared.outputs.shape)
            assert found == expected, f"outputs are {found}, not k n h = {expected}{alone}"
            assert shared.outputs.dtype == x.dtype, f"float64 in is not float64 out{alone}"
            learn = list(trainable(sharing).values())
            reached = [gradient for gradient in gradients(shared.outputs.sin().sum(), [x, *learn]) if gradient is not None]
            assert reached, f"nothing gets a gradient{alone}"
            assert all(gradient.isfinite().all() for gradient in reached), f"a gradient is no number{alone}"


def check_gates(make: MakeSharing) -> None:
    """Not negative, summing to 1, one for each task and row."""
    for tasks in (TASKS, TASKS[:1]):
        sharing, x = made(make, tasks)
        for shared in (sharing(x), trained_once(sharing, x)):
            gates = shared.gates
            if gates is None:
                continue
            assert gates.dim() == 3 and gates.shape[:2] == (len(tasks), ROWS), f"gates are {tuple(gates.shape)}, not k n e"
            assert (gates >= 0).all(), "a gate is negative"
            assert close(gates.sum(-1), gates.new_ones(())), "gates of a row do not sum to 1"
            owners = sharing.expert_owners
            assert len(owners) in (0, gates.shape[-1]), f"expert_owners are {len(owners)}, but gates are over {gates.shape[-1]}"
            strangers = {task for tasks_of_one in owners for task in tasks_of_one} - set(tasks)
            assert not strangers, f"expert_owners name unknown tasks: {sorted(strangers)}"


def check_owners(make: MakeSharing) -> None:
    """Which task trains which parameter and, where each task has an encoder, which input."""
    sharing, x = made(make)
    names = {id(parameter): name for name, parameter in trainable(sharing).items()}
    runs = [sharing(x), *(trained_once(sharing, x, seed) for seed in range(3))]  # a draw may leave a part out
    reached = {key: set[str]() for key in names}
    for shared in runs:
        for key, tasks in _trained_by(sharing, shared).items():
            reached[key] |= tasks
    for task in TASKS:
        for parameter in private_parameters(sharing, task):
            found = reached.get(id(parameter), set())
            assert found <= {task}, f"{names[id(parameter)]} is private to {task!r} but trained by {sorted(found)}"
    private, connected = private_ids(sharing), _connected(list(trainable(sharing).values()), runs)
    for key, tasks in reached.items():
        assert key in connected, f"{names[key]} is trained by nothing: no task, no penalty and no guess reaches it"
        assert key in private or len(tasks) != 1, f"{names[key]} is trained by {sorted(tasks)} alone but lies in no PerTask"
    if sharing.num_inputs > 1 and sharing.private_inputs:
        _check_own_inputs(runs[0], x)


def _trained_by(sharing: Sharing, shared: Shared) -> dict[int, set[str]]:
    learn = list(trainable(sharing).values())
    found: dict[int, set[str]] = {id(parameter): set() for parameter in learn}
    for task, output in zip(sharing.tasks, shared.outputs, strict=True):
        for parameter, gradient in zip(learn, gradients(output.sin().sum(), learn), strict=True):
            found[id(parameter)] |= {task} if size(gradient) else set()
    return found


def _connected(learn: Sequence[nn.Parameter], runs: Sequence[Shared]) -> set[int]:
    """Parameters that anything computed depends on, be it by nothing (the gate of a single expert)."""
    parts = [part for shared in runs for part in (shared.outputs, shared.penalty, shared.guesses) if part is not None]
    found = [zip(learn, gradients(part.sin().sum(), learn), strict=True) for part in parts]
    return {id(parameter) for parameter, gradient in itertools.chain(*found) if gradient is not None}


def _check_own_inputs(shared: Shared, x: Tensor) -> None:
    for place, task in enumerate(TASKS):
        (gradient,) = gradients(shared.outputs[place].sin().sum(), [x])
        others = [other for i, other in enumerate(TASKS) if i != place and gradient is not None and size(gradient[i])]
        assert not others, f"{task!r} trains the encoders of {others}; `private_inputs` says that it does not"


def check_junction(make: MakeSharing) -> None:
    """Gradients at the junction, sent on, are the gradients of all that is shared."""
    sharing, x = made(make)
    private = private_ids(sharing)
    common: dict[str, Tensor] = {name: p for name, p in trainable(sharing).items() if id(p) not in private}
    shared_inputs = _shared_inputs(sharing)
    common |= {"the input": x} if shared_inputs else {}
    for shared in (sharing(x), trained_once(sharing, x)):
        assert bool(shared.junction) == bool(common), "a sharing that shares something has a junction, and only that"
        for place, task in enumerate(TASKS if common else ()):
            whole, sent = _sent(shared.outputs[place].sin().sum(), shared.junction, list(common.values()))
            for name, expected, found in zip(common, whole, sent, strict=True):
                missed = _difference(expected, found)
                missed = missed[shared_inputs] if name == "the input" and missed is not None else missed
                assert size(missed) < _CLOSE, f"{task!r} reaches {name} around the junction, or twice"


def _shared_inputs(sharing: Sharing) -> slice | None:
    """The inputs that losses of several tasks reach."""
    if sharing.num_inputs == 1 or not sharing.private_inputs:
        return slice(None)
    return slice(-1, None) if sharing.num_inputs > len(sharing.tasks) else None


def _sent(loss: Tensor, junction: Sequence[Tensor], common: Sequence[Tensor]) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Gradients of what is common: straight from the loss, and by way of the junction."""
    whole = gradients(loss, common)
    parts = [part for part in junction if part.requires_grad]
    met = [(part, gradient) for part, gradient in zip(parts, gradients(loss, parts), strict=True) if gradient is not None]
    if not met:
        return whole, [None] * len(common)
    outputs, sent = [part for part, _ in met], [gradient for _, gradient in met]
    return whole, list(torch.autograd.grad(outputs, common, sent, retain_graph=True, allow_unused=True))


def _difference(expected: Tensor | None, found: Tensor | None) -> Tensor | None:
    return found if expected is None else expected if found is None else expected - found


def check_permutation(make: MakeSharing) -> None:
    """Outputs, gates, guesses and penalty of the same sharing with its tasks in another order."""
    sharing, x = made(make)
    draws = [trained_once(sharing, x, seed) for seed in (1, 2)]
    modes = [False] if _differ(draws[0], draws[1]) else [False, True]  # a draw falls otherwise in another order
    for order, training in itertools.product(ORDERS, modes):
        other = permuted(make, sharing, order)
        x_other = permuted_input(x, sharing, order)
        expected = trained_once(sharing, x) if training else sharing(x)
        found = trained_once(other, x_other) if training else other(x_other)
        assert close(expected.outputs[order], found.outputs), "permuting the tasks changes their representations"
        assert (expected.gates is None) == (found.gates is None), "permuting the tasks changes whether there are gates"
        if expected.gates is not None and found.gates is not None:  # experts of tasks may stand in the order of the tasks
            assert close(expected.gates[order].sort(-1)[0], found.gates.sort(-1)[0]), "permuting the tasks changes their gates"
        if expected.penalty is not None and found.penalty is not None:
            assert close(expected.penalty, found.penalty), "permuting the tasks changes the penalty"
        if expected.guesses is not None and found.guesses is not None:
            assert close(expected.guesses[:, order], found.guesses), "permuting the tasks changes the guesses"


def _differ(a: Shared, b: Shared) -> bool:
    pairs = [(a.outputs, b.outputs), (a.gates, b.gates), (a.penalty, b.penalty), (a.guesses, b.guesses)]
    return any(one is not None and two is not None and not torch.equal(one, two) for one, two in pairs)


def check_penalty(make: MakeSharing) -> None:
    """Scalar, finite, differentiable, in training; held-down parameters are its own and held down."""
    for tasks in (TASKS, TASKS[:1]):
        sharing, x = made(make, tasks)
        shared = sharing(x)
        assert shared.penalty is None, "there is a penalty outside training"
        assert shared.guesses is None, "an adversary guesses outside training"
        shared = trained_once(sharing, x)
        learn = trainable(sharing)
        reached: set[int] = set()
        if shared.penalty is not None:
            assert shared.penalty.shape == (), f"the penalty is {tuple(shared.penalty.shape)}, not a scalar"
            assert shared.penalty.isfinite(), f"the penalty is {shared.penalty.item()}"
            reached = _checked(shared.penalty, learn, "penalty", must_reach=len(tasks) > 1)
        if shared.guesses is not None:
            expected = (ROWS, len(tasks))
            assert shared.guesses.shape == expected, f"guesses are {tuple(shared.guesses.shape)}, not n k = {expected}"
            _checked(shared.guesses.sin().sum(), learn, "guesses", must_reach=True)
        _check_held_down(sharing, reached if shared.penalty is not None and len(tasks) > 1 else None)


def _check_held_down(sharing: Sharing, reached: set[int] | None) -> None:
    """Spared weight decay is only what is held down otherwise: by the penalty, or without one by a proximal step."""
    own = {id(parameter): name for name, parameter in sharing.named_parameters()}
    for parameter in sharing.penalised_parameters():
        assert id(parameter) in own, "penalised_parameters names a parameter that is not its own"
        name = own[id(parameter)]
        assert reached is None or id(parameter) in reached, f"{name} is spared weight decay but no penalty holds it down"


def _checked(loss: Tensor, learn: Mapping[str, nn.Parameter], what: str, *, must_reach: bool) -> set[int]:
    """Which parameters it has a gradient for; all finite."""
    found = dict(zip(learn, gradients(loss, list(learn.values())), strict=True))
    for name, gradient in found.items():
        assert gradient is None or gradient.isfinite().all(), f"the gradient of the {what} for {name} is no number"
    assert not must_reach or any(gradient is not None for gradient in found.values()), f"the {what} depends on no parameter"
    return {id(learn[name]) for name, gradient in found.items() if size(gradient)}


def check_penalty_of_tasks(make: MakeSharing) -> None:
    """What a penalty holds of one task it holds of all."""
    sharing, x = made(make)
    penalties = [penalty for seed in range(3) if (penalty := trained_once(sharing, x, seed).penalty) is not None]
    if not penalties:
        return
    learn = list(trainable(sharing).values())
    held = {id(p) for loss in penalties for p, gradient in zip(learn, gradients(loss, learn), strict=True) if size(gradient)}
    for path, container in sharing.named_modules():
        if not isinstance(container, PerTask) or set(container.names) != set(TASKS):
            continue
        own = {task: dict(container.of(task).named_parameters()) for task in TASKS}
        for name in set.intersection(*(set(parameters) for parameters in own.values())):
            of = [task for task in TASKS if id(own[task][name]) in held]
            assert len(of) in (0, len(TASKS)), f"the penalty holds {name} of {of} but not of the other tasks ({path})"
