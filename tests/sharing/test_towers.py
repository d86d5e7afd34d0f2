"""One layer of every tower at once: as `side_by_side`, in both layouts; a hook sees its own task alone."""

import pytest
import torch
from torch import nn

from polytask.sharing import MLPs, side_by_side
from polytask.sharing._towers import layer, layer_rows_last


@pytest.mark.parametrize("own_inputs", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_equals_side_by_side_in_both_layouts(scrambled, own_inputs, bias):
    towers = [scrambled(MLPs(1, 4, (5,), last_bias=bias), seed) for seed in (1, 2, 3)]
    x = torch.randn(*([3] if own_inputs else []), 6, 4, dtype=torch.float64)
    expected = torch.cat(side_by_side(towers, x))
    torch.testing.assert_close(layer(towers, x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer_rows_last(towers, x.mT).mT, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("own_inputs", [False, True])
def test_a_hook_sees_its_own_task_alone(own_inputs):
    towers, seen = [MLPs(1, 4, (5,)) for _ in range(3)], []
    for tower in towers:
        for module in tower.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    x = torch.randn(*([3] if own_inputs else []), 6, 4)
    for compute, given in ((layer, x), (layer_rows_last, x.mT)):
        with torch.no_grad():
            unwatched = compute([MLPs(1, 4, (5,)) for _ in range(3)], given)
            found = compute(towers, given)
        assert found.shape == unwatched.shape
        assert [output.numel() for output in seen] == [30, 30, 30]
        seen.clear()
