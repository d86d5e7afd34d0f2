import sys
from pathlib import Path

import pytest
import torch

from polytask.encoders import huge_pages


@pytest.mark.parametrize("rows", [1, 1000, 2_000_000])
def test_the_tensor_is_the_same_tensor(rows):
    tensor = torch.empty(rows, 5)
    assert huge_pages(tensor) is tensor
    assert tensor.fill_(2.0).sum() == 10.0 * rows


def test_large_tensors_get_large_pages():
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if sys.platform != "linux" or not setting.exists() or "[never]" in setting.read_text():
        pytest.skip("this system has no large pages")
    tensor = huge_pages(torch.empty(2**24, 4)).zero_()
    found = [line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if "AnonHugePages" in line]
    assert int(found[0].split()[1]) * 1024 > tensor.nbytes * 0.5
