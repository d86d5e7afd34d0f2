"""Polytask: multi-task learning for PyTorch.

The names below are loaded when they are first used, so that `import polytask` is cheap and the command's help needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polytask.balancers import (
        FAMO,
        IMTLL,
        AuxiliaryDecay,
        Balance,
        Balancer,
        DynamicAverage,
        DynamicPriority,
        Equal,
        Fixed,
        GainSchedule,
        Geometric,
        Logarithmic,
        Random,
        SmoothTchebycheff,
        Uncertainty,
        UncertaintyRevised,
        UncertaintySoft,
    )
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
    "balancers": (
        "AuxiliaryDecay",
        "Balance",
        "Balancer",
        "DynamicAverage",
        "DynamicPriority",
        "Equal",
        "FAMO",
        "Fixed",
        "GainSchedule",
        "Geometric",
        "IMTLL",
        "Logarithmic",
        "Random",
        "SmoothTchebycheff",
        "Uncertainty",
        "UncertaintyRevised",
        "UncertaintySoft",
    ),
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
    "FAMO",
    "IMTLL",
    "MTAN",
    "PLE",
    "SNR",
    "STEM",
    "AdaTT",
    "Adapters",
    "Adversarial",
    "AuxiliaryDecay",
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
    "DynamicAverage",
    "DynamicPriority",
    "Equal",
    "Fitted",
    "Fixed",
    "GainSchedule",
    "Geometric",
    "HoME",
    "LearnedBranching",
    "Logarithmic",
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
    "Random",
    "Regression",
    "Schema",
    "SharedBottom",
    "SingleTask",
    "Sluice",
    "SmoothTchebycheff",
    "SoftSharing",
    "Tabular",
    "Task",
    "TaskTokens",
    "TensorFactorization",
    "Trainer",
    "Uncertainty",
    "UncertaintyRevised",
    "UncertaintySoft",
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
