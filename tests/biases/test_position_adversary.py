import pytest
import torch
from torch.nn.functional import cross_entropy

from biases.positions import batch, model, position_id
from polytask.errors import ConfigError


def gradients(strength):
    found, rows = model(name="position_adversary", strength=strength).train(), batch()
    outputs = found(rows.features)
    found.penalty(outputs, rows.labels).backward()
    return found, rows, [parameter.grad for parameter in found.sharing.parameters()]


def test_the_penalty_is_what_the_adversary_loses_on_the_named_task():
    found, rows, _ = gradients(1.0)
    outputs = found(rows.features)
    guesses = found.bias.discriminator(outputs.shared.outputs[1])
    expected = cross_entropy(guesses, rows.features.categorical[:, 1].long())
    assert found.penalty(outputs, rows.labels).item() == pytest.approx(expected.item(), rel=1e-6)
    assert guesses.shape == (40, 6)
    assert found.eval().penalty(found(rows.features), rows.labels) is None


def test_the_model_runs_from_what_the_adversary_follows():
    _, _, away = gradients(0.5)
    _, _, far = gradients(1.0)
    found, rows, _ = gradients(1.0)
    found.zero_grad()
    shared = found(rows.features).shared.outputs[1]
    cross_entropy(found.bias.discriminator(shared), rows.features.categorical[:, 1].long()).backward()
    for half, full, parameter in zip(away, far, found.sharing.parameters(), strict=True):
        torch.testing.assert_close(2 * half, full)
        torch.testing.assert_close(full, -parameter.grad)
        assert full.any()


def test_the_adversary_learns_to_tell_a_position_that_shows():
    found, rows = model(name="position_adversary", strength=0.0).train(), batch(400)
    position = rows.features.categorical[:, 1].long()
    shown = torch.randn(1, 400, 8, generator=torch.Generator().manual_seed(1))
    shown[0, :, 2] += 3 * (position == position_id(3))
    optimizer = torch.optim.Adam(found.bias.parameters(), lr=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        lost = found.bias.correct({}, rows.features, shown.expand(3, -1, -1)).penalty
        lost.backward()
        optimizer.step()
    share = (position == position_id(3)).float().mean()
    chance = -(share * share.log() + (1 - share) * ((1 - share) / 2).log())
    assert lost.item() < 0.8 * chance.item()


@pytest.mark.parametrize(("options", "text"), [({"strength": -1.0}, "not negative"), ({"discriminator": [0]}, "positive widths")])
def test_what_cannot_be_is_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        model(name="position_adversary", **options)
