"""Cross networks: a slow reference, products that they hold exactly, experts apart from each other."""

import pytest
import torch

from polytask.errors import ConfigError
from polytask.sharing._cross_experts import CrossNetworks


def test_equals_a_slow_reference(slow, scrambled):
    cross = scrambled(CrossNetworks(2, 4, (3, 9)))
    assert [layer.down.shape for layer in cross.layers] == [(2, 3, 4), (2, 4, 4)]  # a rank above d would be wasted
    x = torch.randn(5, 4, dtype=torch.float64)
    out = cross(x)
    for e in range(2):
        for n, row in enumerate(x.tolist()):
            z = row
            for layer in cross.layers:
                down, up, bias = (part[e].tolist() for part in (layer.down, layer.up, layer.bias))
                inner = [sum(w * v for w, v in zip(line, z, strict=True)) for line in down]
                crossed = [sum(w * v for w, v in zip(line, inner, strict=True)) for line in up]
                z = [first * (c + b) + old for first, c, b, old in zip(row, crossed, bias, z, strict=True)]
            assert out[e, n].tolist() == pytest.approx(slow.mlp(cross.dense, e, z), abs=1e-10)


def test_one_layer_holds_a_product_of_two_features_exactly():
    cross = CrossNetworks(1, 3, (2,)).double()
    with torch.no_grad():
        for parameter in cross.parameters():
            parameter.zero_()
        cross.layers[0].up[0, 0, 0] = cross.layers[0].down[0, 0, 2] = 1.0  # row 0 gains x0 · x2
        cross.dense.layers[0].weight[0, 1, 0] = 1.0
    x = torch.rand(4, 3, dtype=torch.float64)
    torch.testing.assert_close(cross(x)[0, :, 1], x[:, 0] * x[:, 2] + x[:, 0], rtol=0, atol=1e-15)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="positive widths"):
        CrossNetworks(2, 4, ())
    with pytest.raises(ConfigError, match="Unknown activation"):
        CrossNetworks(2, 4, (3,), activation="rely")
