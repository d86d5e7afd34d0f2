"""What the contract of the sharings is tried on: three tasks, scrambled parameters, rows in float64."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from polytask.sharing import Shared, Sharing, private_parameters

MakeSharing = Callable[[int, Sequence[str]], Sharing]
TASKS = ("click", "buy", "time")
WIDTH, ROWS = 6, 11
ORDERS = ([2, 0, 1], [1, 0, 2])
"""A cycle and a swap: what only turns the tasks round looks the same under another turn."""


def made(make: MakeSharing, tasks: Sequence[str] = TASKS, *, seed: int = 5, rows: int = ROWS) -> tuple[Sharing, Tensor]:
    """A sharing in float64 and evaluation mode, and an input for it; the seed decides both."""
    torch.manual_seed(seed)
    sharing = make(WIDTH, tasks).double().eval()
    with torch.no_grad():  # nothing may hide behind a bias that starts at 0
        for parameter in sharing.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    shape = (rows, WIDTH) if sharing.num_inputs == 1 else (sharing.num_inputs, rows, WIDTH)
    return sharing, torch.randn(shape, dtype=torch.float64, requires_grad=True)


def permuted(make: MakeSharing, sharing: Sharing, order: Sequence[int]) -> Sharing:
    """The same sharing for the tasks in another order."""
    other = make(WIDTH, [sharing.tasks[place] for place in order]).double().eval()
    other.load_state_dict(deepcopy(sharing.state_dict()))
    return other


def permuted_input(x: Tensor, sharing: Sharing, order: Sequence[int]) -> Tensor:
    """Inputs that belong to tasks, in another order of them."""
    return x if sharing.num_inputs == 1 else x[[*order, *range(len(order), sharing.num_inputs)]]


def trained_once(sharing: Sharing, x: Tensor, seed: int = 9) -> Shared:
    """What a copy gives in training mode; gradients go to the sharing itself."""
    copy, torch_state = deepcopy(sharing).train(), torch.get_rng_state()
    torch.manual_seed(seed)
    buffers = dict(copy.named_buffers())
    shared: Shared = torch.func.functional_call(copy, {**dict(sharing.named_parameters()), **buffers}, (x,))
    torch.set_rng_state(torch_state)
    return shared


def trainable(sharing: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that learn, by name."""
    return {name: parameter for name, parameter in sharing.named_parameters() if parameter.requires_grad}


def private_ids(sharing: Sharing) -> set[int]:
    """Which parameters belong to one task."""
    return {id(parameter) for task in sharing.tasks for parameter in private_parameters(sharing, task)}


def gradients(loss: Tensor, inputs: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradient for each input, None where the loss does not reach it; the graph is kept."""
    if not loss.requires_grad:
        return [None] * len(inputs)
    return list(torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True))


def size(tensor: Tensor | None) -> float:
    """Largest entry, 0 where there is nothing."""
    return 0.0 if tensor is None or not tensor.numel() else float(tensor.detach().abs().max())


def close(a: Tensor, b: Tensor) -> bool:
    """Equal but for the order in which float64 numbers were added."""
    return torch.allclose(a, b, rtol=1e-8, atol=1e-10)
