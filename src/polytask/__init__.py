"""Polytask: multi-task learning for PyTorch.

The names below are loaded when they are first used, so that `import polytask` is cheap and the command's help needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polytask.balancers import Balance, Balancer, Equal, Fixed, Uncertainty
    from polytask.config import read_config
    from polytask.data import Categorical, MultiValued, Numeric, Schema, open_table
    from polytask.encoders import Tabular
    from polytask.errors import CheckpointError, ConfigError, DataError, DivergenceError, PolytaskError
    from polytask.model import MultiTaskModel
    from polytask.run import Fitted, fit, load
    from polytask.sharing import (
        AITM,
        CGC,
        MTAN,
        PLE,
        SNR,
        STEM,
        Adapters,
        AdaTT,
        Adversarial,
        ConvolutionalMTAN,
        CrossStitch,
        DeepRelationship,
        DSelectK,
        HoME,
        LearnedBranching,
        MMoE,
        OMoE,
        SharedBottom,
        SingleTask,
        Sluice,
        SoftSharing,
        TaskTokens,
        TensorFactorization,
    )
    from polytask.tasks import Binary, Count, Multiclass, Ordinal, Quantile, Regression, Task
    from polytask.train import Plan, Trainer, train_step

__version__ = "0.1.0"

# `polytask.train` and `polytask.evaluate` are modules: no public name may be called so.
_HOMES = {
    "balancers": ("Balance", "Balancer", "Equal", "Fixed", "Uncertainty"),
    "config": ("read_config",),
    "data": ("Categorical", "MultiValued", "Numeric", "Schema", "open_table"),
    "encoders": ("Tabular",),
    "errors": ("CheckpointError", "ConfigError", "DataError", "DivergenceError", "PolytaskError"),
    "model": ("MultiTaskModel",),
    "run": ("Fitted", "fit", "load"),
    "sharing": (
        "AITM",
        "AdaTT",
        "Adapters",
        "Adversarial",
        "CGC",
        "ConvolutionalMTAN",
        "CrossStitch",
        "DSelectK",
        "DeepRelationship",
        "HoME",
        "LearnedBranching",
        "MMoE",
        "MTAN",
        "OMoE",
        "PLE",
        "SNR",
        "STEM",
        "SharedBottom",
        "SingleTask",
        "Sluice",
        "SoftSharing",
        "TaskTokens",
        "TensorFactorization",
    ),
    "tasks": ("Binary", "Count", "Multiclass", "Ordinal", "Quantile", "Regression", "Task"),
    "train": ("Plan", "Trainer", "train_step"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AITM",
    "CGC",
    "MTAN",
    "PLE",
    "SNR",
    "STEM",
    "AdaTT",
    "Adapters",
    "Adversarial",
    "Balance",
    "Balancer",
    "Binary",
    "Categorical",
    "CheckpointError",
    "ConfigError",
    "ConvolutionalMTAN",
    "Count",
    "CrossStitch",
    "DSelectK",
    "DataError",
    "DeepRelationship",
    "DivergenceError",
    "Equal",
    "Fitted",
    "Fixed",
    "HoME",
    "LearnedBranching",
    "MMoE",
    "MultiTaskModel",
    "MultiValued",
    "Multiclass",
    "Numeric",
    "OMoE",
    "Ordinal",
    "Plan",
    "PolytaskError",
    "Quantile",
    "Regression",
    "Schema",
    "SharedBottom",
    "SingleTask",
    "Sluice",
    "SoftSharing",
    "Tabular",
    "Task",
    "TaskTokens",
    "TensorFactorization",
    "Trainer",
    "Uncertainty",
    "__version__",
    "fit",
    "load",
    "open_table",
    "read_config",
    "train_step",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'polytask' has no attribute {name!r}")
    return getattr(importlib.import_module(f"polytask.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
