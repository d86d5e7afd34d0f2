"""Settings out of range are refused, all at once."""

import pytest
import torch

from polytask.errors import ConfigError
from polytask.train import Plan, resolve_device


def test_all_numbers_out_of_range_are_listed():
    with pytest.raises(ConfigError, match=r"'accumulate', 'clip', 'epochs'.*epochs = 0, clip = -1.0, accumulate = -2"):
        Plan(epochs=0, accumulate=-2, clip=-1.0)


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in {"cpu", "cuda", "mps"}
    with pytest.raises(ConfigError, match=r"Unknown device.*'gpu'.*'auto'"):
        resolve_device("gpu")
    with pytest.raises(ConfigError, match=r"not available here.*'cuda:99'.*'auto'"):
        resolve_device("cuda:99")
