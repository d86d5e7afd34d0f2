import numpy as np
import pytest
import torch

from polytask.encoders import PiecewiseLinear

EDGES = [(-2.0, -0.5, 0.0, 0.0001, 3.0), (0.0, 1.0), (), (5.0,)]


def test_encoding_by_hand():
    x = torch.tensor([[-0.5, 0.25, 1.0, 1.0], [1.5, 2.0, 0.0, 5.0], [-9.0, -1.0, 0.0, 0.0]])
    encoded = PiecewiseLinear(EDGES, 3).encode(x)
    assert encoded.shape == (4, 3, 4)
    torch.testing.assert_close(encoded[0, 0], torch.tensor([1.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(encoded[0, 1], torch.tensor([1.0, 1.0, 1.0, (1.5 - 0.0001) / (3 - 0.0001)]))
    assert torch.equal(encoded[0, 2], torch.zeros(4))
    assert torch.equal(encoded[1, :, 0], torch.tensor([0.25, 1.0, 0.0]))
    assert torch.equal(encoded[1, :, 1:], torch.zeros(3, 3))
    assert torch.equal(encoded[2:], torch.zeros(2, 3, 4))


def test_a_value_on_an_edge_is_there_to_the_bit():
    edges = np.sort(np.random.default_rng(0).normal(size=30)).astype("float32")
    encoded = PiecewiseLinear([tuple(edges.tolist())], 2).encode(torch.tensor(edges)[:, None])[0]
    torch.testing.assert_close(encoded, torch.ones(30, 29).tril(-1), rtol=0, atol=2e-7)
    assert torch.equal(encoded[7, 7:], torch.zeros(22))


def test_it_is_the_polygon_through_running_sums_of_its_weights():
    embedding = PiecewiseLinear(EDGES[:1], 2)
    with torch.no_grad():
        embedding.weight.normal_()
        embedding.linear.weight.zero_()
    x = np.linspace(-3, 4, 57).astype("float32")
    points = np.concatenate([np.zeros((1, 2)), embedding.weight[0].detach().numpy().cumsum(0)])
    expected = np.stack([np.interp(x, EDGES[0], points[:, i]) for i in range(2)], axis=1)
    np.testing.assert_allclose(embedding(torch.tensor(x)[:, None])[0].detach(), expected, atol=2e-5)


def test_training_begins_with_the_linear_term():
    embedding = PiecewiseLinear(EDGES, 3)
    x = torch.randn(5, 4)
    assert torch.equal(embedding(x), embedding.linear(x))


def test_missing_has_a_vector_of_its_own_and_touches_nothing_else():
    embedding = PiecewiseLinear(EDGES, 3)
    with torch.no_grad():
        embedding.weight.normal_()
        embedding.linear.weight[:, 3] = torch.arange(12.0).view(4, 3)
    x = torch.full((2, 4), float("nan"))
    out = embedding(x)
    assert torch.equal(out[:, 0], torch.arange(12.0).view(4, 3))
    out.sum().backward()
    assert torch.equal(embedding.weight.grad, torch.zeros_like(embedding.weight))
    assert torch.equal(embedding.linear.weight.grad[:, :3], torch.zeros(4, 3, 3))


@pytest.mark.parametrize("value", [1e30, -1e30, 3.4e38])
def test_extreme_values_stay_numbers(value):
    embedding = PiecewiseLinear(EDGES, 3)
    out = embedding(torch.full((1, 4), value))
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(p.grad).all() for p in embedding.parameters())


def test_it_learns_a_spike_that_a_line_cannot():
    torch.manual_seed(0)
    x = torch.cat([torch.zeros(500), torch.rand(500) * 4])[:, None]
    y = torch.where(x == 0, 1.0, -1.0) + 0.3 * (x > 2)
    errors = []
    for edges in [(0.0, 1e-3, 1.0, 1.9, 2.1, 4.0), ()]:
        embedding = PiecewiseLinear([edges], 4)
        head = torch.nn.Linear(4, 1)
        optimizer = torch.optim.Adam([*embedding.parameters(), *head.parameters()], lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            loss = (head(embedding(x)[0]) - y).square().mean()
            loss.backward()
            optimizer.step()
        errors.append(loss.item())
    assert errors[0] < 0.01 < 0.1 < errors[1]
