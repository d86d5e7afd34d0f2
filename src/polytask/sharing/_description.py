"""What a sharing weighs: its parameters, the work of a row, what is private to tasks, where they part."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from polytask.sharing._base import Shared, Sharing, private_parameters


class Part(NamedTuple):
    """What one part of a model weighs.

    Args:
        name: "encoder", "sharing", "heads" or "model".
        parameters: Number of parameters.
        flops: Floating-point operations a row of the forward pass, in matrix products, convolutions and attentions.
        private: Number of parameters that belong to each task alone.
        junction: Number of places where the tasks part (`Shared.junction`), 0 where they share nothing; None where there is
            nothing to part: in a part that is no sharing.
    """

    name: str
    parameters: int
    flops: int
    private: dict[str, int]
    junction: int | None = None


def describe_sharing(sharing: Sharing, x: Float[Tensor, "..."]) -> Part:
    """Parameters, operations a row, private share and junction of a sharing, without a model around it.

    Args:
        sharing: The sharing; its mode is put back.
        x: Some rows, as it reads them: `n d`, or `i n d` where it has several inputs. Work that is the same for any number of
            rows (weights made of factors) is spread over them: take as many as a batch has.

    Example:
        >>> from polytask.sharing import MMoE
        >>> part = describe_sharing(MMoE(6, ["click", "buy"], num_experts=3, hidden=(5,)), torch.zeros(8, 6))
        >>> part.parameters, part.flops, part.private, part.junction
        (141, 312, {'click': 18, 'buy': 18}, 2)
    """
    with evaluated(sharing), count_operations() as total:
        shared: Shared = sharing(x)
    num_rows = x.shape[0 if sharing.num_inputs == 1 else 1]
    private = {task: sum(p.numel() for p in private_parameters(sharing, task)) for task in sharing.tasks}
    parameters = sum(parameter.numel() for parameter in sharing.parameters())
    return Part("sharing", parameters, total()["Global"] // num_rows, private, len(shared.junction))


@contextmanager
def evaluated(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards each module is in the mode that it was in."""
    modes = {one: one.training for one in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for one, mode in modes.items():
            one.training = mode


@contextmanager
def count_operations() -> Iterator[Callable[[], dict[str, int]]]:
    """Counts operations; call what it gives to know them by module: "Global", "MMoE.levels", ..."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a whole attention layer in one operation cannot be counted
    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    # With gradients: the counter asks each output that needs one for the node that made it, and without, weights have none.
    try:
        with torch.enable_grad(), counter:
            yield lambda: {place: sum(counts.values()) for place, counts in {"Global": {}, **counter.get_flop_counts()}.items()}
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _matrix_vector(matrix: tuple[int, ...], _vector: tuple[int, ...], **_: Any) -> int:
    return 2 * matrix[0] * matrix[1]


def _added_matrix_vector(_added: tuple[int, ...], matrix: tuple[int, ...], _vector: tuple[int, ...], **_: Any) -> int:
    return 2 * matrix[0] * matrix[1]


def _dot(vector: tuple[int, ...], _other: tuple[int, ...], **_: Any) -> int:
    return 2 * vector[0]


def _attention(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


_FORMULAS = {
    torch.ops.aten.mv: _matrix_vector,
    torch.ops.aten.addmv: _added_matrix_vector,
    torch.ops.aten.dot: _dot,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}
"""What torch's own counter leaves out: products with vectors, and the attention of CPUs."""
