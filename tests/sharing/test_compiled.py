"""Every registered way of sharing compiles whole, forwards and backwards, with its default options."""

import subprocess
import sys

from polytask.sharing import SHARINGS

PROGRAM = """
import torch
torch.set_num_threads(1)
from polytask.sharing import SHARINGS
from polytask.testing import check_sharing
from polytask.testing._promises_of_running import check_compile
check_sharing(SHARINGS["shared_bottom"], compile=True)
for name, sharing in SHARINGS.items():
    try:
        check_compile(sharing)
    except Exception as error:
        raise AssertionError(f"{name} does not compile") from error
    print(name)
"""


def test_all_registered_compile():
    """In one process of its own: the shape checks of the tests cannot be compiled, and starting the compiler takes seconds."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == list(SHARINGS)
