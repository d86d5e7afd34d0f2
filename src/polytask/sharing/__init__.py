"""Ways of sharing: one representation in, one per task out."""

from polytask.sharing._base import PerTask, Shared, Sharing, private_parameters

SHARINGS: dict[str, type[Sharing]] = {}

__all__ = ["SHARINGS", "PerTask", "Shared", "Sharing", "private_parameters"]
