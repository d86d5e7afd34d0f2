"""Architectures of other libraries, built to read the same representation and to give the same outputs as ours.

Each builder takes (input width, number of tasks) and gives a module from `n d` to `n k` outputs without a sigmoid. Their
embedding layers are replaced by nothing, so what is left is what is compared: sharing, towers, heads. Nothing else is changed:
torch-rechub has a batch norm after every layer, LibMTL a bias in its gates.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable

import torch
from torch import nn

HIDDEN, TOWER, EXPERTS, OWN_EXPERTS = 128, 32, 8, 2
LACKING = {
    ("libmtl", "ple"): "takes encoders with the attributes of a ResNet only",
    ("libmtl", "cross_stitch"): "takes encoders with the attributes of a ResNet only",
    ("libmtl", "mtan"): "takes encoders with the attributes of a ResNet only",
}
"""What a library has and cannot be compared here, with the reason."""


class Passing(nn.Module):
    """In place of an embedding layer."""

    def forward(self, x, *_, **__):
        return x


def _rechub(name: str, tasks: int, width: int, *sizes) -> nn.Module:
    from torch_rechub.basic.features import DenseFeature

    models = importlib.import_module("torch_rechub.models.multi_task")
    first = tasks if name == "AITM" else ["regression"] * tasks
    model = getattr(models, name)([DenseFeature("x", embed_dim=width)], first, *sizes, [{"dims": [TOWER]} for _ in range(tasks)])
    model.embedding = Passing()
    return model


_EXPERT = {"dims": [HIDDEN]}
RECHUB = {
    "shared_bottom": lambda d, k: _rechub("SharedBottom", k, d, _EXPERT),
    "mmoe": lambda d, k: _rechub("MMOE", k, d, EXPERTS, _EXPERT),
    "cgc": lambda d, k: _rechub("PLE", k, d, 1, OWN_EXPERTS, OWN_EXPERTS, _EXPERT),
    "ple": lambda d, k: _rechub("PLE", k, d, 2, OWN_EXPERTS, OWN_EXPERTS, _EXPERT),
    "aitm": lambda d, k: _rechub("AITM", k, d, _EXPERT),
}


def _deepctr(name: str, tasks: int, width: int, **sizes) -> nn.Module:
    from deepctr_torch.inputs import DenseFeat

    module = importlib.import_module(f"deepctr_torch.models.multitask.{name.lower()}")
    model = getattr(module, name)(
        [DenseFeat("x", width)],
        tower_dnn_hidden_units=(TOWER,),
        task_types=["regression"] * tasks,
        task_names=[f"t{k}" for k in range(tasks)],
        **sizes,
    )
    model.input_from_feature_columns = lambda x, *_: ([], [x])
    module.combined_dnn_input = lambda _, dense: dense[0]
    return model


def _deepctr_ple(tasks: int, width: int, levels: int) -> nn.Module:
    numbers = {"shared_expert_num": OWN_EXPERTS, "specific_expert_num": OWN_EXPERTS, "num_levels": levels}
    return _deepctr("PLE", tasks, width, **numbers, expert_dnn_hidden_units=(HIDDEN,), gate_dnn_hidden_units=())


DEEPCTR = {
    "shared_bottom": lambda d, k: _deepctr("SharedBottom", k, d, bottom_dnn_hidden_units=(HIDDEN,)),
    "mmoe": lambda d, k: _deepctr("MMOE", k, d, num_experts=EXPERTS, expert_dnn_hidden_units=(HIDDEN,), gate_dnn_hidden_units=()),
    "cgc": lambda d, k: _deepctr_ple(k, d, 1),
    "ple": lambda d, k: _deepctr_ple(k, d, 2),
}


class Stacked(nn.Module):
    """LibMTL gives a dictionary; the others one tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x):
        return torch.cat(list(self.model(x).values()), dim=1)


def _libmtl(name: str, tasks: int, width: int, **sizes) -> nn.Module:
    if "LibMTL" not in sys.modules:  # its `__init__` asks for torchvision, which its architectures do not need
        package = types.ModuleType("LibMTL")
        package.__path__ = importlib.util.find_spec("LibMTL").submodule_search_locations
        sys.modules["LibMTL"] = package
    names = [f"t{k}" for k in range(tasks)]
    towers = {task: nn.Sequential(nn.Linear(HIDDEN, TOWER), nn.ReLU(), nn.Linear(TOWER, 1)) for task in names}

    def encoder():
        return nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU())

    build = getattr(importlib.import_module(f"LibMTL.architecture.{name}"), name)
    return Stacked(build(names, encoder, nn.ModuleDict(towers), False, False, torch.device("cpu"), img_size=[width], **sizes))


LIBMTL = {
    "shared_bottom": lambda d, k: _libmtl("HPS", k, d),
    "mmoe": lambda d, k: _libmtl("MMoE", k, d, num_experts=[EXPERTS]),
    "cgc": lambda d, k: _libmtl("CGC", k, d, num_experts=[OWN_EXPERTS] * (k + 1)),
    "dselect_k": lambda d, k: _libmtl("DSelect_k", k, d, num_experts=[EXPERTS], num_nonzeros=2, kgamma=1.0),
}

RIVALS: dict[str, tuple[str, str, dict[str, Callable[[int, int], nn.Module]]]] = {
    "libmtl": ("LibMTL", "LibMTL", LIBMTL),
    "deepctr": ("deepctr_torch", "deepctr-torch", DEEPCTR),
    "rechub": ("torch_rechub", "torch-rechub", RECHUB),
}
"""By name: module, distribution, builders by the name of our architecture."""


def absent(rival: str) -> str | None:
    """Why a library takes no part, or None where it does."""
    module = RIVALS[rival][0]
    return None if importlib.util.find_spec(module) else f"{module} is not installed (RIVALS names a folder to look in)"
