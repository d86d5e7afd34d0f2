"""One torch thread, and shape annotations checked while the tests run."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

# `polytask.batch` and others are imported only below this line, so that every annotated shape is enforced in tests.
hook = install_import_hook("polytask", "beartype.beartype")

import torch

torch.set_num_threads(1)
