"""Trunks of several kinds with heads of eight tasks, and data: what the fidelity of gradient measures is taken on."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from polytask.sharing import PLE, MMoE, Shared

TASKS = tuple(f"t{k}" for k in range(8))
CHANNELS, SIDE, STEPS, WIDTH = 3, 8, 12, 16  # inputs: images of 3 x 8 x 8, sequences of 12 x 16; both are 192 numbers
INPUTS = CHANNELS * SIDE * SIDE


class Trunk(NamedTuple):
    """A trunk by name: how it is made, and what it does to a flat input of 192 numbers."""

    build: Callable[[], nn.Module]
    features: int


class Convolutions(nn.Module):
    """Three convolutions with batch norm and a mean over places."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(CHANNELS, 16, 1), (16, 32, 2), (32, 64, 1)]
        self.layers = nn.Sequential(*(self.block(*size) for size in sizes))

    @staticmethod
    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.view(-1, CHANNELS, SIDE, SIDE)).mean((2, 3))


class Transformer(nn.Module):
    """Two blocks with layer norm before attention and MLP, and a mean over steps."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(WIDTH, 64)
        block = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, nn.LayerNorm(64), enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.inside(x.view(-1, STEPS, WIDTH))).mean(1)


def perceptron() -> nn.Module:
    sizes = [(INPUTS, 256), (256, 256), (256, 128)]
    return nn.Sequential(*(layer for size in sizes for layer in (nn.Linear(*size), nn.ReLU())))


TRUNKS: dict[str, Trunk] = {
    "MLP": Trunk(perceptron, 128),
    "MMoE": Trunk(lambda: MMoE(INPUTS, TASKS, num_experts=4, hidden=(128, 64)), 64),
    "PLE": Trunk(lambda: PLE(INPUTS, TASKS, levels=((64,), (64,)), num_shared_experts=2, num_task_experts=1), 64),
    "convolutions": Trunk(Convolutions, 64),
    "transformer": Trunk(Transformer, 64),
}


class Net(nn.Module):
    """A trunk and a head with one hidden layer a task."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk.build()
        self.heads = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(trunk.features, 32), nn.ReLU(), nn.Linear(32, 1)) for name in TASKS}
        )

    def losses(
        self, x: Tensor, labels: Tensor, criterion: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[object, dict[str, Tensor]]:
        """The junction, and the loss of each task."""
        found = self.trunk(x)
        shared = isinstance(found, Shared)
        rows = found.outputs.unbind(0) if shared else [found] * len(TASKS)
        outputs = {name: self.heads[name](z).squeeze(1) for name, z in zip(TASKS, rows, strict=True)}
        return (found if shared else (found,)), {name: criterion(outputs[name], labels[:, k]) for k, name in enumerate(TASKS)}


class Data(NamedTuple):
    """Rows of a task family: inputs, labels, and the loss of a task."""

    x: Tensor
    y: Tensor
    criterion: Callable[[Tensor, Tensor], Tensor]


def opposed(rows: int, seed: int) -> Data:
    """Regressions on features of one teacher: four tasks lean one way, four another, all with noise; scales from 1 to 10."""
    x, features, random = _teacher(rows, seed)
    sides = torch.randn(2, features.shape[1], generator=random)
    sides[1] = -0.5 * sides[0] + 0.5 * sides[1]
    own = torch.randn(len(TASKS), features.shape[1], generator=random)
    weights = sides.repeat_interleave(len(TASKS) // 2, 0) + own
    y = features @ weights.T
    y = (y - y.mean(0)) / y.std(0) + 0.3 * torch.randn(y.shape, generator=random)
    return Data(x, y * torch.logspace(0, 1, len(TASKS)), mse_loss)


def rare(rows: int, seed: int) -> Data:
    """Labels of 2 to 40 % of the rows, each of its own mixture of three causes, as clicks, purchases and complaints are."""
    x, features, random = _teacher(rows, seed)
    causes = torch.randn(3, features.shape[1], generator=random)
    mixtures = torch.randn(len(TASKS), 3, generator=random)
    logits = features @ (mixtures @ causes).T
    logits = 2 * (logits - logits.mean(0)) / logits.std(0) + torch.randn(logits.shape, generator=random)
    rates = torch.linspace(0.02, 0.4, len(TASKS))
    cuts = torch.stack([torch.quantile(column, 1 - rate) for column, rate in zip(logits.T, rates, strict=True)])
    return Data(x, (logits > cuts).float(), binary_cross_entropy_with_logits)


DATA: dict[str, Callable[[int, int], Data]] = {"opposed": opposed, "rare": rare}


def _teacher(rows: int, seed: int) -> tuple[Tensor, Tensor, torch.Generator]:
    """Inputs with a few strong directions, neighbours alike as in images and sequences, and 24 features of them."""
    random = torch.Generator().manual_seed(seed)
    strong = torch.randn(rows, 16, generator=random) @ torch.randn(16, INPUTS, generator=random) / 4
    x = strong + torch.randn(rows, INPUTS, generator=random)
    x = (x + x.roll(1, 1) + x.roll(STEPS, 1)) / 3**0.5 / 1.5
    hidden = torch.tanh(x @ torch.randn(INPUTS, 48, generator=random) / INPUTS**0.5)
    return x, torch.tanh(2 * hidden @ torch.randn(48, 24, generator=random) / 48**0.5), random
