"""Low-rank forms of the weights of all tasks in one layer: shared matrices, of which each task takes its own combination."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message

Rank = int | float
"""A number of directions (an int), or a share in (0, 1] of as many as there can be (a float)."""


class Ranks(NamedTuple):
    """How many directions a layer has in the space of its outputs, of its inputs and of the tasks."""

    output: Rank
    input: Rank
    task: Rank

    def within(self, full: "Ranks") -> "Ranks":
        """The same as whole numbers; what is more than there can be is as many as there can be."""
        return Ranks(*(_whole(rank, int(most)) for rank, most in zip(self, full, strict=True)))


def _whole(rank: Rank, full: int) -> int:
    if isinstance(rank, float) and 0 < rank <= 1:
        return max(1, round(rank * full))
    if isinstance(rank, int) and rank >= 1:
        return min(rank, full)
    way_out = "A whole number counts directions, 0.5 is half of all there can be, 1.0 all."
    raise ConfigError(message("A rank is a whole number from 1 or a share in (0, 1].", received=repr(rank), way_out=way_out))


class Decomposed(NamedTuple):
    """Weights of k tasks taken apart: the shared factors, and each task's row."""

    factors: "Factors"
    rows: Float[Tensor, "k r"]


class Factors(nn.Module, ABC):
    """The shared factors of one layer: r matrices B of which task k takes `W_k = Σ_r s_kr B_r`.

    They start so that an entry of each B has the variance of a Glorot weight, `2 / (o + i)`: with rows s of length 1, whatever
    the form and the ranks, a task's layer then gives activations of the size that an ordinary layer gives.

    Args:
        sizes: Numbers of tasks, outputs and inputs: k, o, i.
        ranks: Whole numbers within `full`.
    """

    def __init__(self, sizes: tuple[int, int, int], ranks: Ranks) -> None:
        super().__init__()
        self.sizes, self.ranks = sizes, ranks

    @staticmethod
    @abstractmethod
    def full(sizes: tuple[int, int, int]) -> Ranks:
        """Ranks that any weights of these sizes fit into; 1 where the form has no such rank."""

    @abstractmethod
    def matrices(self) -> Float[Tensor, "r o i"]:
        """The r shared matrices."""

    @classmethod
    @abstractmethod
    def decompose(cls, weight: Float[Tensor, "k o i"], tolerance: float) -> Decomposed:
        """Takes weights apart at the least ranks that this way finds, with `||W - Ŵ|| <= tolerance · ||W||`."""

    @classmethod
    def _filled(cls, weight: Tensor, ranks: Ranks, rows: Tensor, *parameters: Tensor) -> Decomposed:
        """The factors with these values. The last parameter and the rows trade scale, so that rows have mean square length 1."""
        factors = cls((weight.shape[0], weight.shape[1], weight.shape[2]), ranks).to(weight.dtype)
        scale = math.sqrt(weight.shape[0] / rows.square().sum().item())
        values = [*parameters[:-1], parameters[-1] / scale]
        with torch.no_grad():
            for parameter, value in zip(factors.parameters(), values, strict=True):
                parameter.copy_(value)
        return Decomposed(factors, rows * scale)


@final
class LastAxis(Factors):
    """The flattening along the tasks, `W_(K) = L S`: free matrices."""

    def __init__(self, sizes: tuple[int, int, int], ranks: Ranks) -> None:
        super().__init__(sizes, ranks)
        _, out, size = sizes
        self.basis = nn.Parameter(torch.randn(int(ranks.task), out, size) * math.sqrt(2 / (out + size)))

    @staticmethod
    def full(sizes: tuple[int, int, int]) -> Ranks:
        """As many matrices as tasks."""
        return Ranks(1, 1, min(sizes[0], sizes[1] * sizes[2]))

    def matrices(self) -> Float[Tensor, "r o i"]:
        """The matrices as they are."""
        return self.basis.view_as(self.basis)  # its own place in the graph: the junction

    @classmethod
    def decompose(cls, weight: Float[Tensor, "k o i"], tolerance: float) -> Decomposed:
        """One singular value decomposition."""
        left, values, right = _truncated(weight.flatten(1), tolerance**2 * weight.square().sum())
        basis = (values.unsqueeze(1) * right).reshape(-1, *weight.shape[1:])
        return cls._filled(weight, Ranks(1, 1, len(values)), left, basis)


@final
class Tucker(Factors):
    """`B_r = U1 G_r U2'`: few directions of outputs and inputs, and a core between them."""

    def __init__(self, sizes: tuple[int, int, int], ranks: Ranks) -> None:
        super().__init__(sizes, ranks)
        _, out, size = sizes
        a, b, r = (int(rank) for rank in ranks)
        self.outputs = nn.Parameter(nn.init.orthogonal_(torch.empty(out, a)))
        self.inputs = nn.Parameter(nn.init.orthogonal_(torch.empty(size, b)))
        # Orthonormal factors keep the square sum: of a core of a x b numbers and of a matrix of o x i.
        self.core = nn.Parameter(torch.randn(r, a, b) * math.sqrt(2 / (out + size) * (out * size) / (a * b)))

    @staticmethod
    def full(sizes: tuple[int, int, int]) -> Ranks:
        """All outputs, inputs and tasks."""
        return Ranks(sizes[1], sizes[2], sizes[0])

    def matrices(self) -> Float[Tensor, "r o i"]:
        """`U1 G_r U2'`."""
        return self.outputs @ self.core @ self.inputs.mT

    @classmethod
    def decompose(cls, weight: Float[Tensor, "k o i"], tolerance: float) -> Decomposed:
        """A higher-order decomposition, mode after mode; squares of what each leaves out add up to the square of the error."""
        core, budget, found = weight, tolerance**2 * weight.square().sum() / 3, []
        for mode in (1, 2, 0):
            moved = core.movedim(mode, 0)
            left, values, right = _truncated(moved.flatten(1), budget)
            core = (values.unsqueeze(1) * right).reshape(-1, *moved.shape[1:]).movedim(0, mode)
            found.append(left)
        outputs, inputs, rows = found
        return cls._filled(weight, Ranks(outputs.shape[1], inputs.shape[1], rows.shape[1]), rows, outputs, inputs, core)


@final
class TensorTrain(Factors):
    """`B_r = U1 G_r`: few directions of outputs, then a core that reads all inputs."""

    def __init__(self, sizes: tuple[int, int, int], ranks: Ranks) -> None:
        super().__init__(sizes, ranks)
        _, out, size = sizes
        a, r = int(ranks.output), int(ranks.task)
        self.outputs = nn.Parameter(nn.init.orthogonal_(torch.empty(out, a)))
        self.core = nn.Parameter(torch.randn(r, a, size) * math.sqrt(2 / (out + size) * out / a))

    @staticmethod
    def full(sizes: tuple[int, int, int]) -> Ranks:
        """All outputs and tasks."""
        return Ranks(min(sizes[1], sizes[2] * sizes[0]), 1, min(sizes[0], sizes[1] * sizes[2]))

    def matrices(self) -> Float[Tensor, "r o i"]:
        """`U1 G_r`."""
        return self.outputs @ self.core

    @classmethod
    def decompose(cls, weight: Float[Tensor, "k o i"], tolerance: float) -> Decomposed:
        """Two singular value decompositions, from left to right; squares of what each leaves out add up."""
        budget = tolerance**2 * weight.square().sum() / 2
        outputs, values, right = _truncated(weight.movedim(0, 2).flatten(1), budget)  # o x (i k)
        rest = (values.unsqueeze(1) * right).reshape(-1, weight.shape[0])  # (a i) x k
        left, values, right = _truncated(rest, budget)
        core = (left * values).reshape(-1, weight.shape[2], len(values)).movedim(2, 0)  # r a i
        return cls._filled(weight, Ranks(outputs.shape[1], 1, len(values)), right.mT, outputs, core)


FORMS: dict[str, type[Factors]] = {"tucker": Tucker, "tt": TensorTrain, "laf": LastAxis}


def _truncated(matrix: Tensor, budget: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Its singular value decomposition without the directions whose squares add up to at most `budget`."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    left_out = values.square().flip(0).cumsum(0).flip(0)  # if this direction and all smaller ones go
    rank = max(1, int((left_out > budget).sum()))
    return left[:, :rank], values[:rank], right[:rank]
