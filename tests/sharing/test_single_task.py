"""SingleTask: the contract, nothing shared, and k models trained as if alone."""

from functools import partial

import pytest
import torch

from polytask.sharing import SharedBottom, SingleTask, private_parameters
from polytask.testing import check_sharing


@pytest.mark.parametrize("options", [{}, {"hidden": (7, 5)}])
def test_contract(options):
    check_sharing(partial(SingleTask, **options))


def test_every_parameter_is_private():
    single = SingleTask(4, ["a", "b"], hidden=(5,))
    private = {id(p) for task in "ab" for p in private_parameters(single, task)}
    assert private == {id(p) for p in single.parameters()}
    assert single.num_inputs == 2


def test_each_task_is_a_shared_bottom_of_its_own(scrambled):
    single = scrambled(SingleTask(4, ["a", "b"], hidden=(5, 3)))
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    for place, task in enumerate("ab"):
        alone = SharedBottom(4, [task], hidden=(5, 3)).double()
        alone.trunk.load_state_dict(single.bottoms.of(task).state_dict())
        torch.testing.assert_close(single(x).outputs[place], alone(x[place]).outputs[0], rtol=0, atol=1e-12)
