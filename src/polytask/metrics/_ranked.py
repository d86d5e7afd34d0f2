"""Rows of every group from the highest prediction down: what metrics of rankings read, made by one sort for all groups."""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from polytask.metrics._base import NO_ROW, Undefined


class OverGroups(float):
    """A mean over groups that knows how many it is of.

    Example:
        >>> value = OverGroups(0.5, groups=3, left_out=2, why="without a positive row")
        >>> value, value + 1
        (0.5 (2 of 5 groups without a positive row are left out), 1.5)

    Args:
        value: The mean.
        groups: Groups it is the mean of.
        left_out: Groups that have no value.
        why: What is the matter with those.
    """

    __slots__ = ("groups", "left_out", "why")

    groups: int
    left_out: int
    why: str

    def __new__(cls, value: float, *, groups: int, left_out: int, why: str) -> "OverGroups":
        made = super().__new__(cls, value)
        made.groups, made.left_out, made.why = groups, left_out, why
        return made

    @property
    def note(self) -> str:
        """What was left out, in words; empty where nothing was."""
        return f"{self.left_out:,} of {self.groups + self.left_out:,} groups {self.why} are left out" if self.left_out else ""

    def __repr__(self) -> str:
        return float.__repr__(self) + (f" ({self.note})" if self.note else "")

    def __reduce__(self) -> tuple[object, tuple[float, int, int, str]]:
        return _over_groups, (float(self), self.groups, self.left_out, self.why)


def _over_groups(value: float, groups: int, left_out: int, why: str) -> OverGroups:
    return OverGroups(value, groups=groups, left_out=left_out, why=why)


class Ranking:
    """g groups, each a list of r runs of equal predictions; ranks count from 0 inside a group.

    Rows of weight 0 do not count. A group weighs the mean of its rows, so that all groups weigh the same where rows do.

    Args:
        label: Label of each row.
        prediction: Score of each row.
        weight: Weight of each row.
        groups: Group of each row.
    """

    def __init__(
        self,
        label: Float[np.ndarray, " n"],
        prediction: Float[np.ndarray, " n"],
        weight: Float[np.ndarray, " n"] | None,
        groups: Shaped[np.ndarray, " n"],
    ) -> None:
        if weight is not None and not (weight > 0).all():
            label, prediction, weight, groups = (values[weight > 0] for values in (label, prediction, weight, groups))
        order = np.lexsort((-prediction, groups))
        self.label = label[order].astype(np.float64)
        prediction, groups = prediction[order], groups[order]
        new_group = np.r_[True, groups[1:] != groups[:-1]][: len(groups)]
        self.first_rows = np.flatnonzero(new_group)
        """First row of each group, in the order of the ranking."""
        self.group_of_row = np.cumsum(new_group) - 1
        self.starts = np.flatnonzero(new_group | np.r_[True, prediction[1:] != prediction[:-1]][: len(groups)])
        """First row of each run."""
        self.sizes = np.diff(np.r_[self.starts, len(groups)])
        self.group = self.group_of_row[self.starts]
        self.ranks = self.starts - self.first_rows[self.group]
        """Rank of the first row of each run."""
        self.group_sizes = np.diff(np.r_[self.first_rows, len(groups)])
        self.weight = np.ones(len(self.first_rows))
        if weight is not None and len(order):
            self.weight = np.add.reduceat(weight[order].astype(np.float64), self.first_rows) / self.group_sizes

    @property
    def empty(self) -> bool:
        """Whether there is no row."""
        return not len(self.starts)

    def over_runs(self, values: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " r"]:
        """Sum over the rows of each run; rows in the order of the ranking."""
        total: np.ndarray = np.add.reduceat(values, self.starts)
        return total

    def over_groups(self, values: Float[np.ndarray, " r"]) -> Float[np.ndarray, " g"]:
        """Sum over the runs of each group."""
        total: np.ndarray = np.bincount(self.group, values, minlength=len(self.first_rows))
        return total

    def mean(self, values: Float[np.ndarray, " g"], usable: Bool[np.ndarray, " g"]) -> float:
        """Weighted mean of a value a group over the usable groups: those with a positive row."""
        if self.empty:
            return Undefined(NO_ROW)
        if not usable.any():
            return Undefined("no group has a positive row")
        value = float(np.average(values[usable], weights=self.weight[usable]))
        left_out = int(len(usable) - usable.sum())
        return OverGroups(value, groups=int(usable.sum()), left_out=left_out, why="without a positive row")


class FirstPositives:
    """The run that holds the first positive row of each group that has one: h groups.

    Its rows tie, so each of them is equally likely to come at each of its ranks.

    Args:
        ranking: The groups.
    """

    def __init__(self, ranking: Ranking) -> None:
        positives = ranking.over_runs(ranking.label > 0)
        runs = np.flatnonzero(positives)
        group = ranking.group[runs]  # it rises
        runs = runs[np.r_[True, group[1:] != group[:-1]][: len(runs)]]
        self.group: Int[np.ndarray, " h"] = ranking.group[runs]
        self.before, self.size = ranking.ranks[runs], ranking.sizes[runs]
        """Rows that certainly come earlier, and rows of the run."""
        self.positives = positives[runs]

    def none_among(self, run: Int[np.ndarray, " q"], slots: Int[np.ndarray, " q"]) -> Float[np.ndarray, " q"]:
        """Chance that the first `slots` rows of a run are all negative: C(size - slots, positives) / C(size, positives)."""
        size, positives = self.size[run], self.positives[run]
        rest = size - slots
        logs = np.r_[0.0, np.cumsum(np.log(np.arange(1, size.max(initial=0) + 1)))]  # of factorials
        apart = np.maximum(rest - positives, 0)
        chance = np.exp(logs[rest] - logs[apart] - logs[size] + logs[size - positives])
        return np.where(rest >= positives, chance, 0.0)
