"""Experts over a history: torch's own layers, slow references, padding anywhere, no history at all."""

import math

import pytest
import torch

from polytask.sharing._history_experts import Attentions, GRUs, mean_of_steps


def history(lengths=(5, 3, 1, 4), width=3, seed=7):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), 5, width, generator=generator, dtype=torch.float64)
    for row, length in enumerate(lengths):
        x[row, length:] = 0
    return x


def test_recurrent_experts_equal_torch(scrambled, slow):
    experts = scrambled(GRUs(2, 3, (4, 2)))
    x = history()
    out = experts(x)
    for e in range(2):
        layer = torch.nn.GRU(3, 4, batch_first=True).double()
        named = {"weight_ih_l0": "input", "weight_hh_l0": "state", "bias_ih_l0": "input_bias", "bias_hh_l0": "state_bias"}
        layer.load_state_dict({theirs: getattr(experts, ours)[e].detach() for theirs, ours in named.items()})
        for row, length in enumerate((5, 3, 1, 4)):
            state = layer(x[row : row + 1, :length])[1].flatten().tolist()
            assert out[e, row].tolist() == pytest.approx(slow.mlp(experts.dense, e, state), abs=1e-10)


def slow_attention(experts, e, steps, slow):
    def times(matrix, vector):
        return [sum(w * v for w, v in zip(line, vector, strict=True)) for line in matrix[e].tolist()]

    width, heads = experts.width, experts.num_heads
    size = width // heads
    u = []
    for place, step in enumerate(steps):
        angles = [2 * math.pi * (len(steps) - 1 - place) / 4**i for i in range(1, 9)]
        position = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        u.append([a + b for a, b in zip(times(experts.content, step), times(experts.position, position), strict=True)])
    query, keys, values = (
        times(experts.query, u[-1]),
        [times(experts.key, one) for one in u],
        [times(experts.value, one) for one in u],
    )
    read = []
    for head in range(heads):
        part = slice(head * size, head * size + size)
        scores = [sum(q * k for q, k in zip(query[part], key[part], strict=True)) / math.sqrt(size) for key in keys]
        read += slow.mix(slow.softmax(scores), [value[part] for value in values])
    return slow.mlp(experts.dense, e, u[-1] + read)


@pytest.mark.parametrize("widths", [(8,), (6, 3)])
def test_attention_experts_equal_a_slow_reference(scrambled, slow, widths):
    experts = scrambled(Attentions(2, 3, widths))
    assert experts.num_heads == {8: 4, 6: 2}[widths[0]]
    x = history()
    out = experts(x)
    for e in range(2):
        for row, length in enumerate((5, 3, 1, 4)):
            expected = slow_attention(experts, e, x[row, :length].tolist(), slow)
            assert out[e, row].tolist() == pytest.approx(expected, abs=1e-6 if length > 1 else 1e-10)  # waves are float32


@pytest.mark.parametrize("kind", [GRUs, Attentions])
def test_padding_counts_nowhere_it_stands(scrambled, kind):
    experts = scrambled(kind(2, 3, (4,)))
    x = history(lengths=(3, 3))[:, :3]
    first, middle, last = torch.zeros(3, 2, 5, 3, dtype=torch.float64)
    first[:, 2:], middle[:, [0, 2, 4]], last[:, :3] = x, x, x
    for padded in (first, middle, last):
        torch.testing.assert_close(experts(padded), experts(x), rtol=0, atol=1e-12)
        torch.testing.assert_close(mean_of_steps(padded), x.mean(1), rtol=0, atol=1e-15)
    assert not torch.allclose(experts(x.flip(1)), experts(x))  # but the order does


@pytest.mark.parametrize("kind", [GRUs, Attentions])
def test_a_row_without_a_history_is_finite_and_harms_no_other(scrambled, kind):
    experts = scrambled(kind(2, 3, (4,)))
    x = history(lengths=(0, 4)).requires_grad_()
    out = experts(x)
    torch.testing.assert_close(out[:, 1:], experts(x[1:]), rtol=0, atol=1e-12)
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in experts.parameters())
    assert mean_of_steps(x)[0].tolist() == [0, 0, 0]
