"""What a sharing weighs: operations counted by hand, attention and products with vectors, mode, junction."""

import pytest
import torch
from torch import nn

from polytask.sharing import (
    PLE,
    SHARINGS,
    Adapters,
    CrossStitch,
    MMoE,
    Shared,
    SharedBottom,
    Sharing,
    SingleTask,
    TaskTokens,
    describe_sharing,
)

TASKS = ["click", "buy"]


def by_hand_ple(d, first, second, own, common, k):
    """Two levels: experts and gates of tasks; between them the shared gate. Mixtures are sums, no products of matrices."""
    num, seen = k * own + common, own + common
    below = num * d * first + k * d * seen + d * num
    above = num * first * second + k * first * seen
    return 2 * (below + above)


def by_hand_tokens(d, tokens, w, hidden, k):
    """One block, of which only the task tokens are read: queries of k tokens, keys and values of all."""
    whole = tokens + k
    attention = k * w * w + whole * w * 2 * w + k * whole * w * 2 + k * w * w
    return 2 * (d * tokens * w + attention + k * w * hidden * 2)


@pytest.mark.parametrize(
    ("sharing", "by_hand"),
    [
        (SharedBottom(6, TASKS, hidden=(5, 4)), 2 * (6 * 5 + 5 * 4)),
        (SingleTask(6, TASKS, hidden=(5, 4)), 2 * 2 * (6 * 5 + 5 * 4)),
        # experts, gates, mixtures
        (MMoE(6, TASKS, num_experts=3, hidden=(5, 4)), 2 * (3 * (6 * 5 + 5 * 4) + 2 * 6 * 3 + 2 * 3 * 4)),
        (PLE(6, TASKS, levels=[(4,), (5,)], num_task_experts=2, num_shared_experts=3), by_hand_ple(6, 4, 5, 2, 3, 2)),
        # towers, and a 2 x 2 matrix for each of 5 + 4 units
        (CrossStitch(6, TASKS, hidden=(5, 4)), 2 * (2 * (6 * 5 + 5 * 4) + 2 * 2 * (5 + 4))),
        # the first layer once, the second for each task; down and up for each task at both
        (Adapters(6, TASKS, hidden=(5, 4), rank=3), 2 * (6 * 5 + 2 * 5 * 4 + 2 * 3 * (6 + 5 + 5 + 4))),
        (TaskTokens(6, TASKS, num_tokens=3, width=8, num_blocks=1, num_heads=2, hidden=5), by_hand_tokens(6, 3, 8, 5, 2)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_operations_equal_a_count_by_hand(sharing, by_hand):
    x = torch.randn(9, 6) if sharing.num_inputs == 1 else torch.randn(sharing.num_inputs, 9, 6)
    part = describe_sharing(sharing, x)
    assert part.flops == by_hand
    assert part.parameters == sum(parameter.numel() for parameter in sharing.parameters())


@pytest.mark.parametrize("name", SHARINGS)
def test_every_sharing_is_described(name):
    sharing = SHARINGS[name](6, TASKS).train()
    shape = (64, 6) if sharing.num_inputs == 1 else (sharing.num_inputs, 64, 6)
    part = describe_sharing(sharing, torch.randn(shape))
    assert part.flops > 0
    assert part.name == "sharing"
    assert list(part.private) == TASKS
    assert 0 <= sum(part.private.values()) <= part.parameters
    assert part.junction == len(sharing.eval()(torch.randn(shape)).junction)


def test_junction_or_none_is_stated():
    assert describe_sharing(SingleTask(4, TASKS), torch.zeros(2, 3, 4)).junction == 0
    assert describe_sharing(SharedBottom(4, TASKS), torch.zeros(3, 4)).junction == 1


class Vectors(Sharing):
    """Products with vectors, and an attention of torch that has a way of its own without gradients."""

    def __init__(self, in_features, tasks):
        super().__init__(in_features, tasks)
        self.vector = nn.Parameter(torch.randn(in_features))
        self.attention = nn.MultiheadAttention(in_features, 2, batch_first=True)
        self.out_features = 1

    def forward(self, x):
        z, _ = self.attention(x.unsqueeze(1), x.unsqueeze(1), x.unsqueeze(1), need_weights=False)
        z = (z.squeeze(1) @ self.vector + self.vector @ self.vector).view(1, -1, 1)
        return Shared(z.expand(len(self.tasks), -1, -1), (z,))


def test_products_with_vectors_and_attention_are_counted():
    fast = torch.backends.mha.get_fastpath_enabled()
    part = describe_sharing(Vectors(4, TASKS).eval(), torch.randn(7, 4))
    # in and out projections, scores and values of one token, a vector; the vector with itself is spread over 7 rows
    assert part.flops == 2 * (3 * 4 * 4 + 4 * 4 + 2 * 4 + 4) + 2 * 4 // 7
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_modes_are_put_back():
    sharing = MMoE(6, TASKS, num_experts=3, hidden=(5,), dropout=0.5)
    sharing.gates.eval()
    describe_sharing(sharing, torch.zeros(3, 6))
    assert sharing.training
    assert sharing.levels.training
    assert not sharing.gates.training
