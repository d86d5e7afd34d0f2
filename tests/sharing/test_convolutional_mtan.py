"""MTAN over feature maps: the contract, a reference by hand, sizes of maps, norms, privacy of masks, mistakes."""

from typing import final

import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu

from polytask.errors import ConfigError
from polytask.sharing import ConvolutionalMTAN, Shared, Sharing, private_parameters
from polytask.testing import check_sharing


def stages():
    """16 x 12 to 8 x 6 to 4 x 3, with widths that are all different."""
    return [
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()), nn.Conv2d(4, 5, 3, padding=1)),
        (nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(5, 6, 1), nn.ReLU()), nn.Conv2d(6, 7, 3, padding=1)),
        (nn.Conv2d(7, 8, 3, stride=2, padding=1), nn.Sequential(nn.Conv2d(8, 9, 1), nn.ReLU())),
    ]


IMAGES = torch.randn(2, 3, 16, 12)


@final
class OnVectors(Sharing):
    """Rows as maps of 3 x 1 x 2 and back, so that the contract of vectors applies."""

    def __init__(self, in_features, tasks, **options):
        super().__init__(in_features, tasks)
        halves = [
            (nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 3, padding=1)),
            (nn.Conv2d(5, 3, 1), nn.Conv2d(3, 4, 1)),
            (nn.Conv2d(4, 4, (1, 2)), nn.Identity()),
        ]
        self.inner = ConvolutionalMTAN(tasks, halves, torch.zeros(2, 3, 1, 2), **options)
        self.out_features = self.inner.out_features

    def forward(self, x):
        shared = self.inner(x.unflatten(1, (3, 1, 2)))
        return Shared(shared.outputs.flatten(2), shared.junction)


@pytest.mark.parametrize("options", [{}, {"norm": "layer", "reduction": 2}, {"norm": "none"}])
def test_contract(options):
    check_sharing(lambda width, tasks: OnVectors(width, tasks, **options))


@pytest.mark.parametrize("training", [True, False])
def test_equals_the_equations_by_hand(training):
    torch.manual_seed(0)
    backbone = stages()
    model = ConvolutionalMTAN(["b", "a"], backbone, IMAGES).double().train(training)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    images = torch.randn(4, 3, 16, 12, dtype=torch.float64)
    outputs = model(images).outputs
    for place, task in enumerate(model.tasks):
        p, own = images, None
        for stage, (first, second) in enumerate(backbone):
            u = first(p)
            p = second(u)
            if own is not None:
                convolution, norm, _ = model.between[stage - 1]
                own = max_pool2d(relu(norm(convolution(own))), 2)
            one, norm_one, _, two, norm_two, _ = model.masks[stage].of(task)
            read = u if own is None else torch.cat([u, own], 1)
            own = norm_two(two(relu(norm_one(one(read))))).sigmoid() * p
        torch.testing.assert_close(outputs[place], own, rtol=0, atol=1e-10)


def test_shapes_and_the_first_mask():
    model = ConvolutionalMTAN(["a", "b"], stages(), IMAGES, reduction=3)
    assert model(IMAGES).outputs.shape == (2, 2, 9, 4, 3)
    assert (model.in_features, model.out_features) == (3, 9)
    assert [masks.of("a")[0].weight.shape[:2] for masks in model.masks] == [(1, 4), (2, 12), (3, 16)]
    larger = torch.randn(1, 3, 32, 40)  # another size than the example's
    assert model(larger).outputs.shape == (2, 1, 9, 8, 10)


def test_a_decoder_grows_again():
    halves = [
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 1)),
        (nn.ConvTranspose2d(4, 5, 2, stride=2), nn.Conv2d(5, 6, 1)),
    ]
    assert ConvolutionalMTAN(["a"], halves, IMAGES)(IMAGES).outputs.shape == (1, 2, 6, 16, 12)


def test_masks_lie_in_zero_to_one_and_are_private():
    torch.manual_seed(0)
    model = ConvolutionalMTAN(["a", "b"], stages(), IMAGES)
    masks = []
    for stage in model.masks:
        for mask in stage.values():
            mask.register_forward_hook(lambda _module, _inputs, output: masks.append(output))
    model(IMAGES)
    assert len(masks) == 6
    assert all(((mask > 0) & (mask < 1)).all() for mask in masks)
    private = {id(parameter) for parameter in private_parameters(model, "a")}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in private}
    assert names == {name for name, _ in model.named_parameters() if ".task_a." in name}


def test_looking_at_the_example_leaves_modes_and_running_values():
    halves = [(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5)))]
    halves[0][1][1].eval()
    ConvolutionalMTAN(["a"], halves, IMAGES)
    norm, dropout = halves[0][1]
    assert norm.training
    assert not dropout.training
    assert not norm.running_mean.any()


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match=r"two halves.*stages of \[2, 1\] modules"):
        ConvolutionalMTAN(["a"], [stages()[0], stages()[1][:1]], IMAGES)
    with pytest.raises(ConfigError, match=r"second half of stage 0.*\(2, 4, 16, 12\) -> \(2, 4, 8, 6\)"):
        ConvolutionalMTAN(["a"], [(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2))], IMAGES)
    with pytest.raises(ConfigError, match=r"Unknown norm.*'bach'.*batch"):
        ConvolutionalMTAN(["a"], stages(), IMAGES, norm="bach")
    with pytest.raises(ConfigError, match="reduction=0"):
        ConvolutionalMTAN(["a"], stages(), IMAGES, reduction=0)
