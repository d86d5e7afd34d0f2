import torch

from polytask.encoders import RobustLinear
from polytask.encoders._linear import signed_log, smooth_clip


def test_terms_by_hand():
    embedding = RobustLinear([(), ()], 1)
    with torch.no_grad():
        embedding.weight.copy_(torch.tensor([[1.0, 10, 100, 7], [2, 20, 200, 8]])[:, :, None])
    out = embedding(torch.tensor([[4.0, float("nan")], [0.0, -4.0]]))
    clipped, logarithm = 4 / (1 + 16 / 9) ** 0.5, 1.6094379
    expected = torch.tensor([[1 + 10 * clipped + 100 * logarithm, 1.0], [8.0, 2 - 20 * clipped - 200 * logarithm]])
    torch.testing.assert_close(out[:, :, 0], expected)


def test_clip_is_the_identity_near_zero_bounded_and_increasing():
    x = torch.linspace(-50, 50, 2001)
    assert (smooth_clip(x).diff() > 0).all()
    assert smooth_clip(x).abs().max() < 3
    torch.testing.assert_close(smooth_clip(x[990:1011]), x[990:1011], rtol=0.02, atol=0)


def test_both_terms_are_odd_and_the_logarithm_tells_far_values_apart():
    x = torch.tensor([0.3, 2.0, 1e4, 1e8])
    for term in (smooth_clip, signed_log):
        assert torch.equal(term(-x), -term(x))
    assert signed_log(x)[3] - signed_log(x)[2] > 9
