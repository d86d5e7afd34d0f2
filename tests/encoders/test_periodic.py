import math

import torch

from polytask.encoders import Periodic
from polytask.encoders._linear import smooth_clip


def test_formula_by_hand():
    embedding = Periodic([(), ()], 3, num_frequencies=5, sigma=1.0)
    x = torch.randn(4, 2)
    for field in range(2):
        angle = 2 * math.pi * embedding.frequency[field] * smooth_clip(x[:, field : field + 1]) + embedding.phase[field]
        expected = embedding.linear(x)[field] + torch.cos(angle) @ embedding.weight[field]
        torch.testing.assert_close(embedding(x)[field], expected)


def test_missing_has_the_linear_term_only():
    embedding = Periodic([()], 3)
    x = torch.tensor([[float("nan")]])
    assert torch.equal(embedding(x), embedding.linear(x))
    embedding(x).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in embedding.parameters())


def test_sigma_is_the_spread_of_the_frequencies():
    torch.manual_seed(0)
    for sigma in (0.05, 5.0):
        frequency = Periodic([()] * 40, 2, num_frequencies=100, sigma=sigma).frequency
        assert abs(frequency.std().item() / sigma - 1) < 0.05


def test_it_learns_a_wave_that_a_line_cannot():
    torch.manual_seed(0)
    x = torch.rand(600, 1) * 3 - 1.5
    y = torch.sin(6 * x)
    embedding, head = Periodic([()], 8, sigma=1.0), torch.nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*embedding.parameters(), *head.parameters()], lr=0.03)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (head(embedding(x)[0]) - y).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02
