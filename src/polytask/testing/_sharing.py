"""The contract of the sharings' family."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from polytask.sharing import Shared, Sharing, private_parameters

MakeSharing = Callable[[int, Sequence[str]], Sharing]
_TASKS = ("click", "buy", "time")
_WIDTH, _ROWS = 6, 11
_CLOSE = 1e-9  # float64


def check_sharing(make: MakeSharing) -> None:
    """Holds a sharing to the contract of its family: an error says which promise is broken.

    One representation a task; gates are weights; rows do not see each other; what is private is trained by its task alone and
    what is trained by several is not private; the junction is a complete cut; permuted tasks give permuted outputs; state goes
    through `state_dict` by task name; a seed decides everything; float64 and bfloat16 work; copies run under `vmap`; the
    forward pass can be exported.

    Args:
        make: Builds the sharing for an input width and task names: `functools.partial(MMoE, num_experts=3)`.

    Raises:
        AssertionError: Names the broken promise.

    Example:
        >>> from polytask.sharing import SharedBottom
        >>> check_sharing(SharedBottom)
    """
    for check in (
        _check_shapes,
        _check_gates,
        _check_rows,
        _check_private,
        _check_junction,
        _check_permutation,
        _check_state,
        _check_seed,
        _check_bfloat16,
        _check_replicas,
        _check_export,
    ):
        check(make)


def _made(make: MakeSharing, tasks: Sequence[str] = _TASKS, *, seed: int = 5) -> tuple[Sharing, Tensor]:
    torch.manual_seed(seed)
    sharing = make(_WIDTH, tasks).double().eval()
    with torch.no_grad():  # nothing may hide behind a bias that starts at 0
        for parameter in sharing.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    shape = (_ROWS, _WIDTH) if sharing.num_inputs == 1 else (sharing.num_inputs, _ROWS, _WIDTH)
    return sharing, torch.randn(shape, dtype=torch.float64, requires_grad=True)


def _check_shapes(make: MakeSharing) -> None:
    for tasks in (_TASKS, _TASKS[:1]):
        sharing, x = _made(make, tasks)
        assert sharing.tasks == tuple(tasks), "the sharing forgets its tasks"
        assert sharing.num_inputs in (1, len(tasks), len(tasks) + 1), "it asks for another number of encoders than 1, k or k + 1"
        shared = sharing(x)
        assert isinstance(shared, Shared), "forward gives no Shared"
        expected = (len(tasks), _ROWS, sharing.out_features)
        assert shared.outputs.shape == expected, f"outputs are {tuple(shared.outputs.shape)}, not k n h = {expected}"
        assert shared.outputs.dtype == x.dtype, "float64 in is not float64 out"


def _check_gates(make: MakeSharing) -> None:
    sharing, x = _made(make)
    for mode in (True, False):
        gates = sharing.train(mode)(x).gates
        if gates is not None:
            assert gates.shape[:2] == (len(_TASKS), _ROWS), f"gates are {tuple(gates.shape)}, not k n e"
            assert (gates >= 0).all(), "a gate is negative"
            assert torch.allclose(gates.sum(-1), gates.new_ones(())), "gates of a row do not sum to 1"


def _check_rows(make: MakeSharing) -> None:
    sharing, x = _made(make)
    whole = sharing(x).outputs
    parts = torch.cat([sharing(x[..., rows, :]).outputs for rows in (slice(0, 4), slice(4, _ROWS))], dim=1)
    assert torch.allclose(whole, parts), "a row's representation depends on the rows beside it"


def _sizes(tensors: Sequence[Tensor | None]) -> list[float]:
    return [0.0 if tensor is None else float(tensor.abs().max()) for tensor in tensors]


def _check_private(make: MakeSharing) -> None:
    sharing, x = _made(make)
    names = {id(parameter): name for name, parameter in sharing.named_parameters()}
    parameters = list(sharing.parameters())
    outputs = sharing(x).outputs
    reached: dict[int, set[str]] = {key: set() for key in names}
    for place, task in enumerate(_TASKS):
        gradients = torch.autograd.grad(outputs[place].sin().sum(), parameters, retain_graph=True, allow_unused=True)
        for parameter, size in zip(parameters, _sizes(gradients), strict=True):
            reached[id(parameter)] |= {task} if size else set()
    for task in _TASKS:
        for parameter in private_parameters(sharing, task):
            found = reached[id(parameter)]
            assert found <= {task}, f"{names[id(parameter)]} is private to {task!r} but trained by {sorted(found)}"
    private = {id(parameter) for task in _TASKS for parameter in private_parameters(sharing, task)}
    for key, tasks in reached.items():
        assert key in private or len(tasks) > 1, f"{names[key]} is trained by {sorted(tasks)} alone but lies in no PerTask"


def _check_junction(make: MakeSharing) -> None:
    sharing, x = _made(make)
    private = {id(parameter) for task in _TASKS for parameter in private_parameters(sharing, task)}
    common: list[Tensor] = [parameter for parameter in sharing.parameters() if id(parameter) not in private]
    common += [x] if sharing.num_inputs == 1 else []
    shared = sharing(x)
    assert bool(shared.junction) == bool(common), "a sharing that shares something has a junction, and only that"
    for place, task in enumerate(_TASKS if common else ()):
        loss = shared.outputs[place].sin().sum()
        whole = torch.autograd.grad(loss, common, retain_graph=True, allow_unused=True)
        cut = torch.autograd.grad(loss, shared.junction, retain_graph=True, allow_unused=True)
        met = [(part, gradient) for part, gradient in zip(shared.junction, cut, strict=True) if gradient is not None]
        sent = torch.autograd.grad(
            [part for part, _ in met], common, [gradient for _, gradient in met], retain_graph=True, allow_unused=True
        )
        missed = _sizes([_difference(expected, found) for expected, found in zip(whole, sent, strict=True)])
        assert max(missed) < _CLOSE, f"{task!r} reaches something shared around the junction, or twice"


def _difference(expected: Tensor | None, found: Tensor | None) -> Tensor | None:
    return found if expected is None else expected if found is None else expected - found


def _check_permutation(make: MakeSharing) -> None:
    sharing, x = _made(make)
    order = [2, 0, 1]
    other = make(_WIDTH, [_TASKS[place] for place in order]).double().eval()
    other.load_state_dict(sharing.state_dict())
    permuted = other(x if sharing.num_inputs == 1 else x[[*order, *range(len(order), sharing.num_inputs)]])
    expected = sharing(x)
    assert torch.allclose(expected.outputs[order], permuted.outputs), "permuting the tasks changes their representations"


def _check_state(make: MakeSharing) -> None:
    sharing, x = _made(make)
    other, _ = _made(make, seed=6)
    assert not torch.allclose(other(x).outputs, sharing(x).outputs), "a seed does not reach the parameters"
    other.load_state_dict(copy.deepcopy(sharing.state_dict()))
    assert torch.equal(other(x).outputs, sharing(x).outputs), "state_dict does not hold the whole state"


def _check_seed(make: MakeSharing) -> None:
    runs = []
    for _ in range(2):
        sharing, x = _made(make)
        torch.manual_seed(9)
        sharing.train()(x).outputs.sin().sum().backward()
        runs.append([parameter.grad for parameter in sharing.parameters()])
    same = all(a is b is None or torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert same, "two runs of one seed have different gradients"


def _check_bfloat16(make: MakeSharing) -> None:
    sharing, x = _made(make)
    single, x = sharing.float(), x.detach().float()
    expected = single(x).outputs
    with torch.autocast("cpu", torch.bfloat16):
        rounded = single(x).outputs
    assert torch.allclose(rounded.float(), expected, rtol=0.1, atol=0.1), "autocast to bfloat16 changes more than rounding does"
    whole = single.bfloat16()(x.bfloat16()).outputs
    assert torch.allclose(whole.float(), expected, rtol=0.1, atol=0.1), "bfloat16 weights change more than rounding does"


def _check_replicas(make: MakeSharing) -> None:
    made = [_made(make, seed=seed) for seed in (5, 6)]
    parameters, buffers = torch.func.stack_module_state([sharing for sharing, _ in made])
    x = torch.stack([x.detach() for _, x in made])

    def run(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        shared: Shared = torch.func.functional_call(made[0][0], (parameters, buffers), (x,))
        return shared.outputs

    together = torch.func.vmap(run)(parameters, buffers, x)
    for outputs, (sharing, own) in zip(together, made, strict=True):
        assert torch.allclose(outputs, sharing(own).outputs), "replicas under vmap differ from the single models"


def _check_export(make: MakeSharing) -> None:
    sharing, x = _made(make)
    x = x.detach()
    rows = torch.export.Dim("rows", min=2)
    exported = torch.export.export(_OutputsOnly(sharing), (x,), dynamic_shapes=({x.dim() - 2: rows},)).module()
    more = torch.cat([x, -x], dim=-2)
    assert torch.allclose(exported(more), sharing(more).outputs), "the exported graph differs on another number of rows"


class _OutputsOnly(nn.Module):
    def __init__(self, sharing: Sharing) -> None:
        super().__init__()
        self.sharing = sharing

    def forward(self, x: Tensor) -> Tensor:
        shared: Shared = self.sharing(x)
        return shared.outputs
