"""Ways of sharing: one representation in, one per task out."""

from polytask.sharing._adapters import Adapters
from polytask.sharing._adatt import AdaTT
from polytask.sharing._adversarial import Adversarial, reversed_gradient
from polytask.sharing._aitm import AITM
from polytask.sharing._base import Mixture, PerTask, Shared, Sharing, private_parameters
from polytask.sharing._cgc import CGC
from polytask.sharing._convolutional_mtan import ConvolutionalMTAN
from polytask.sharing._cross_stitch import CrossStitch
from polytask.sharing._deep_relationship import DeepRelationship
from polytask.sharing._description import Part, count_operations, describe_sharing, evaluated
from polytask.sharing._dselect_k import DSelectK
from polytask.sharing._experts import EXPERTS
from polytask.sharing._gate_statistics import GateStatistics, gate_statistics
from polytask.sharing._home import HoME
from polytask.sharing._learned_branching import LearnedBranching
from polytask.sharing._mlps import ACTIVATIONS, MLPs, side_by_side, together
from polytask.sharing._mmoe import MMoE
from polytask.sharing._mtan import MTAN
from polytask.sharing._omoe import OMoE
from polytask.sharing._ple import PLE
from polytask.sharing._shared_bottom import SharedBottom
from polytask.sharing._single_task import SingleTask
from polytask.sharing._sluice import Sluice
from polytask.sharing._snr import SNR
from polytask.sharing._soft_sharing import SoftSharing
from polytask.sharing._stem import STEM
from polytask.sharing._task_tokens import TaskTokens
from polytask.sharing._tensor_factorization import TensorFactorization

SHARINGS: dict[str, type[Sharing]] = {
    "single_task": SingleTask,
    "shared_bottom": SharedBottom,
    "adapters": Adapters,
    "soft_sharing": SoftSharing,
    "cross_stitch": CrossStitch,
    "sluice": Sluice,
    "tensor_factorization": TensorFactorization,
    "deep_relationship": DeepRelationship,
    "omoe": OMoE,
    "mmoe": MMoE,
    "cgc": CGC,
    "ple": PLE,
    "dselect_k": DSelectK,
    "snr": SNR,
    "adatt": AdaTT,
    "stem": STEM,
    "home": HoME,
    "mtan": MTAN,
    "aitm": AITM,
    "task_tokens": TaskTokens,
    "learned_branching": LearnedBranching,
    "adversarial": Adversarial,
}

__all__ = [
    "ACTIVATIONS",
    "AITM",
    "CGC",
    "EXPERTS",
    "MTAN",
    "PLE",
    "SHARINGS",
    "SNR",
    "STEM",
    "AdaTT",
    "Adapters",
    "Adversarial",
    "ConvolutionalMTAN",
    "CrossStitch",
    "DSelectK",
    "DeepRelationship",
    "GateStatistics",
    "HoME",
    "LearnedBranching",
    "MLPs",
    "MMoE",
    "Mixture",
    "OMoE",
    "Part",
    "PerTask",
    "Shared",
    "SharedBottom",
    "Sharing",
    "SingleTask",
    "Sluice",
    "SoftSharing",
    "TaskTokens",
    "TensorFactorization",
    "count_operations",
    "describe_sharing",
    "evaluated",
    "gate_statistics",
    "private_parameters",
    "reversed_gradient",
    "side_by_side",
    "together",
]
