"""Balancers: many losses in, one direction out."""

from polytask.balancers._aligned_mtl import AlignedMTL
from polytask.balancers._auxiliary_decay import AuxiliaryDecay
from polytask.balancers._base import Balance, Balancer
from polytask.balancers._cagrad import CAGrad
from polytask.balancers._conflict_free import ConFIG
from polytask.balancers._cosine_gate import CosineGate
from polytask.balancers._db_mtl import DBMTL
from polytask.balancers._dual_projection import DualProjection
from polytask.balancers._dynamic_average import DynamicAverage
from polytask.balancers._dynamic_priority import DynamicPriority
from polytask.balancers._equal import Equal
from polytask.balancers._excess_mtl import ExcessMTL
from polytask.balancers._fairgrad import FairGrad
from polytask.balancers._famo import FAMO
from polytask.balancers._fixed import Fixed
from polytask.balancers._front import static_front
from polytask.balancers._gain_schedule import GainSchedule
from polytask.balancers._geometric import Geometric
from polytask.balancers._graddrop import GradDrop
from polytask.balancers._gradnorm import GradNorm
from polytask.balancers._gradvac import GradVac
from polytask.balancers._imtl_g import IMTLG
from polytask.balancers._imtl_l import IMTLL
from polytask.balancers._logarithmic import Logarithmic
from polytask.balancers._loss import LossBalancer
from polytask.balancers._metabalance import MetaBalance
from polytask.balancers._mgda import MGDA
from polytask.balancers._moco import MoCo
from polytask.balancers._modo import MoDo
from polytask.balancers._nash_mtl import NashMTL
from polytask.balancers._pcgrad import PCGrad
from polytask.balancers._random import Random
from polytask.balancers._rotograd import RotoGrad
from polytask.balancers._sdmgrad import SDMGrad
from polytask.balancers._smooth_tchebycheff import SmoothTchebycheff
from polytask.balancers._torchjd import TorchJD
from polytask.balancers._uncertainty import Uncertainty
from polytask.balancers._uncertainty_revised import UncertaintyRevised
from polytask.balancers._uncertainty_soft import UncertaintySoft
from polytask.balancers._upgrad import UPGrad

BALANCERS: dict[str, type[Balancer]] = {
    "equal": Equal,
    "fixed": Fixed,
    "auxiliary_decay": AuxiliaryDecay,
    "dynamic_average": DynamicAverage,
    "dynamic_priority": DynamicPriority,
    "famo": FAMO,
    "gain_schedule": GainSchedule,
    "geometric": Geometric,
    "imtl_l": IMTLL,
    "logarithmic": Logarithmic,
    "random": Random,
    "smooth_tchebycheff": SmoothTchebycheff,
    "uncertainty": Uncertainty,
    "uncertainty_revised": UncertaintyRevised,
    "uncertainty_soft": UncertaintySoft,
    "aligned_mtl": AlignedMTL,
    "cagrad": CAGrad,
    "conflict_free": ConFIG,
    "dual_projection": DualProjection,
    "fairgrad": FairGrad,
    "gradnorm": GradNorm,
    "gradvac": GradVac,
    "imtl_g": IMTLG,
    "mgda": MGDA,
    "nash_mtl": NashMTL,
    "pcgrad": PCGrad,
    "upgrad": UPGrad,
    "cosine_gate": CosineGate,
    "db_mtl": DBMTL,
    "excess_mtl": ExcessMTL,
    "graddrop": GradDrop,
    "metabalance": MetaBalance,
    "moco": MoCo,
    "modo": MoDo,
    "sdmgrad": SDMGrad,
    "rotograd": RotoGrad,
}

__all__ = [
    "BALANCERS",
    "DBMTL",
    "FAMO",
    "IMTLG",
    "IMTLL",
    "MGDA",
    "AlignedMTL",
    "AuxiliaryDecay",
    "Balance",
    "Balancer",
    "CAGrad",
    "ConFIG",
    "CosineGate",
    "DualProjection",
    "DynamicAverage",
    "DynamicPriority",
    "Equal",
    "ExcessMTL",
    "FairGrad",
    "Fixed",
    "GainSchedule",
    "Geometric",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "Logarithmic",
    "LossBalancer",
    "MetaBalance",
    "MoCo",
    "MoDo",
    "NashMTL",
    "PCGrad",
    "Random",
    "RotoGrad",
    "SDMGrad",
    "SmoothTchebycheff",
    "TorchJD",
    "UPGrad",
    "Uncertainty",
    "UncertaintyRevised",
    "UncertaintySoft",
    "static_front",
]
