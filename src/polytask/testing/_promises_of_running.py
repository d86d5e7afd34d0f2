"""Promises of a sharing about how it runs: rows apart, state, seeds, number formats, replicas, export, compilation."""

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from polytask.sharing import Shared, Sharing
from polytask.testing._probe import TASKS, WIDTH, MakeSharing, close, made, size, trainable, trained_once

_MANY = 64


def check_evaluation(make: MakeSharing) -> None:
    """Two passes in evaluation mode give the same."""
    sharing, x = made(make)
    before = {name: value.clone() for name, value in sharing.state_dict().items() if isinstance(value, Tensor)}
    first, second = sharing(x), sharing(x)
    assert torch.equal(first.outputs, second.outputs), "two passes in evaluation mode differ"
    assert first.gates is None or torch.equal(first.gates, second.gates), "gates of two passes in evaluation mode differ"
    after = sharing.state_dict()
    moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert not moved, f"a pass in evaluation mode changes the state: {moved}"


def check_rows(make: MakeSharing) -> None:
    """Many rows at once are as many batches of one, in evaluation mode."""
    sharing, x = made(make, rows=_MANY)
    whole = sharing(x)
    parts = [sharing(x[..., row : row + 1, :]) for row in range(_MANY)]
    together = torch.cat([part.outputs for part in parts], dim=1)
    assert close(whole.outputs, together), "a row's representation depends on the rows beside it"
    if whole.gates is not None:
        gates = torch.cat([part.gates for part in parts if part.gates is not None], dim=1)
        assert close(whole.gates, gates), "a row's gates depend on the rows beside it"


def check_state(make: MakeSharing) -> None:
    """What was trained a little goes through safetensors into a new one, by name."""
    sharing, x = made(make)
    other, _ = made(make, seed=6)
    other_kinds = [name for name, value in sharing.state_dict().items() if not isinstance(value, Tensor)]
    assert not other_kinds, f"the state holds more than tensors: {other_kinds}"
    _train(sharing, x)
    state = sharing.state_dict()
    kept = load(save({name: tensor.contiguous() for name, tensor in state.items()}))
    assert {name: t.dtype for name, t in kept.items()} == {name: t.dtype for name, t in state.items()}, "state changes its type"
    other.load_state_dict(kept)
    assert torch.equal(other(x).outputs, sharing(x).outputs), "state_dict does not hold the whole state"
    assert _same_training(sharing, other, x), "state_dict does not hold the whole state of training"


def _train(sharing: Sharing, x: Tensor) -> None:
    """Two steps, so that running estimates have run."""
    optimizer = torch.optim.SGD([*sharing.parameters(), x], lr=0.01)
    torch.manual_seed(4)
    for _ in range(2):
        optimizer.zero_grad()
        shared: Shared = sharing.train()(x.detach())
        _loss(shared).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        sharing.after_step(0.01)
    sharing.eval()
    broken = [name for name, value in sharing.state_dict().items() if not value.isfinite().all()]
    assert not broken, f"after a training step these are no numbers: {broken}"


def _loss(shared: Shared) -> Tensor:
    extra = [part for part in (shared.penalty, shared.guesses) if part is not None]
    return shared.outputs.sin().sum() + sum(part.sin().sum() for part in extra)


def _same_training(a: Sharing, b: Sharing, x: Tensor) -> bool:
    one, two = trained_once(a, x), trained_once(b, x)
    return torch.equal(one.outputs, two.outputs) and (one.penalty is two.penalty is None or torch.equal(_loss(one), _loss(two)))


def check_seed(make: MakeSharing) -> None:
    """Two runs of one seed have the same parameters, outputs and gradients; another seed starts elsewhere."""
    starts: list[dict[str, Tensor]] = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        starts.append({name: parameter.detach() for name, parameter in make(WIDTH, TASKS).named_parameters()})
    first, again, other = starts
    assert all(torch.equal(first[name], again[name]) for name in first), "two runs of one seed start differently"
    assert any(not torch.equal(first[name], other[name]) for name in first), "a seed does not reach the parameters"
    runs: list[list[Tensor | None]] = []
    for _ in range(2):
        sharing, x = made(make)
        torch.manual_seed(9)
        loss = _loss(sharing.train()(x))
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = list(sharing.parameters())
        runs.append([loss.detach(), *(p.detach() for p in parameters), *(p.grad for p in parameters)])
    same = all(a is b is None or (a is not None and b is not None and torch.equal(a, b)) for a, b in zip(*runs, strict=True))
    assert same, "two runs of one seed differ"


def check_floats(make: MakeSharing) -> None:
    """Float64 is computed in float64 throughout; float32 stays float32 and is close to it."""
    sharing, x = made(make)
    x = x.detach()
    torch.manual_seed(2)
    direction = torch.randn_like(x)
    # A single step of less than float64 would swallow the small move, or blow it up.
    slopes = [(sharing(x + step * direction).outputs - sharing(x).outputs) / step for step in (1e-6, 1e-9)]
    scale = max(size(slope) for slope in slopes)
    found = size(slopes[0] - slopes[1])
    assert found <= 1e-2 * scale, "float64 comes in, but something inside is computed in less"
    expected = sharing(x).outputs
    single = sharing.float()(x.float()).outputs
    assert single.dtype == torch.float32, f"float32 in is {single.dtype} out"
    assert torch.allclose(single.double(), expected, rtol=1e-3, atol=1e-3), "float32 changes more than rounding does"


def check_bfloat16(make: MakeSharing) -> None:
    """Under autocast, forwards and backwards, and with bfloat16 weights."""
    sharing, x = made(make)
    single, x = sharing.float(), x.detach().float()
    expected = single(x).outputs
    with torch.autocast("cpu", torch.bfloat16):
        rounded = single(x).outputs
        shared = trained_once(single, x)
    assert torch.allclose(rounded.float(), expected, rtol=0.1, atol=0.1), "autocast to bfloat16 changes more than rounding does"
    _loss(shared).backward()  # type: ignore[no-untyped-call]
    broken = [name for name, p in single.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    assert not broken, f"under autocast to bfloat16 gradients are no numbers: {broken}"
    whole = single.bfloat16()(x.bfloat16()).outputs
    assert whole.dtype == torch.bfloat16, f"bfloat16 in is {whole.dtype} out"
    assert torch.allclose(whole.float(), expected, rtol=0.1, atol=0.1), "bfloat16 weights change more than rounding does"


def check_replicas(make: MakeSharing) -> None:
    """Two copies at once are the two one after the other; in training they run too."""
    pairs = [made(make, seed=seed) for seed in (5, 6)]
    parameters, buffers = torch.func.stack_module_state([sharing for sharing, _ in pairs])
    x = torch.stack([x.detach() for _, x in pairs])

    def run(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        shared: Shared = torch.func.functional_call(pairs[0][0], (parameters, buffers), (x,))
        return shared.outputs

    together = torch.func.vmap(run)(parameters, buffers, x)
    for outputs, (sharing, own) in zip(together, pairs, strict=True):
        assert close(outputs, sharing(own).outputs), "replicas under vmap differ from the single models"
    pairs[0][0].train()
    trained = torch.func.vmap(run, randomness="different")(parameters, buffers, x)
    assert trained.shape == together.shape and trained.isfinite().all(), "replicas in training give no numbers"


def check_replica_gradients(make: MakeSharing) -> None:
    """Gradients of two copies at once are those of each."""
    pairs = [made(make, seed=seed) for seed in (5, 6)]
    parameters, buffers = torch.func.stack_module_state([sharing for sharing, _ in pairs])
    x = torch.stack([x.detach() for _, x in pairs])

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        shared: Shared = torch.func.functional_call(pairs[0][0], (parameters, buffers), (x,))
        return shared.outputs.sin().sum()

    together = torch.func.vmap(torch.func.grad(loss))(parameters, buffers, x)
    for place, (sharing, own) in enumerate(pairs):
        learn = trainable(sharing)
        sharing(own.detach()).outputs.sin().sum().backward()
        for name, parameter in learn.items():
            expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            assert close(together[name][place], expected), f"gradients of replicas under vmap differ: {name}"


def check_export(make: MakeSharing) -> None:
    """The exported graph, on more rows than it was made with."""
    sharing, x = made(make)
    x = x.detach()
    rows = torch.export.Dim("rows", min=2)
    exported = torch.export.export(_OutputsOnly(sharing), (x,), dynamic_shapes=({x.dim() - 2: rows},)).module()
    more = torch.cat([x, -x], dim=-2)
    assert close(exported(more), sharing(more).outputs), "the exported graph differs on another number of rows"


def check_compile(make: MakeSharing) -> None:
    """Forwards and backwards in one graph, as without."""
    sharing, x = made(make, TASKS[:2])
    torch.compiler.reset()
    compiled = torch.compile(sharing, backend="aot_eager", fullgraph=True)
    sharing.train()
    loss = _loss(compiled(x))
    loss.backward()  # type: ignore[no-untyped-call]
    missed = [name for name, p in trainable(sharing).items() if p.grad is not None and not p.grad.isfinite().all()]
    assert not missed, f"compiled, these have gradients that are no numbers: {missed}"
    sharing.eval()
    assert close(compiled(x).outputs, sharing(x).outputs), "compiled, it gives something else"


class _OutputsOnly(nn.Module):
    def __init__(self, sharing: Sharing) -> None:
        super().__init__()
        self.sharing = sharing

    def forward(self, x: Tensor) -> Tensor:
        shared: Shared = self.sharing(x)
        return shared.outputs
