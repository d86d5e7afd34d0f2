"""What gates tell of experts: shared ones that serve one task alone, own ones that their task ignores."""

from collections.abc import Mapping, Sequence
from typing import Final

from polytask.monitors._findings import Finding

_IGNORED: Final = 0.1
"""Share of an even gate below which a task does not use an expert: with 8 experts an even gate gives each .125."""
_DOMINATED: Final = 0.5
"""Share of a task's mixture from which shared experts dominate it."""


def gate_findings(use: Mapping[str, float], tasks: Sequence[str], owners: Sequence[Sequence[str]]) -> list[Finding]:
    """Degradation and underfitting (HoME, arXiv 2408.05430), read off what each task takes of each expert.

    - Expert degradation: one task takes at least an even share of an expert that is for several, every other one less than a
      tenth of an even share.
    - Expert underfitting: a task takes less than a tenth of an even share of its own experts, all together, and more than half
      of its mixture from those that it shares.

    An even share is 1 over the number of experts that are for the task.

    Args:
        use: `use/TASK/I`, the task's mean gate on expert I, as `GateStatistics` gives it.
        tasks: Names of the tasks.
        owners: For each expert the tasks that it is for (`Sharing.expert_owners`); () judges nothing.

    Example:
        >>> use = {"use/click/0": 0.5, "use/click/1": 0.5, "use/buy/0": 0.0, "use/buy/1": 1.0}
        >>> [finding.name for finding in gate_findings(use, ["click", "buy"], [("click", "buy")] * 2)]
        ['expert degradation']
    """
    if not use or not owners:
        return []
    gates = {task: [use[f"use/{task}/{expert}"] for expert in range(len(owners))] for task in tasks}
    even = {task: 1 / max(sum(task in owner for owner in owners), 1) for task in tasks}
    degraded = [finding for expert, owner in enumerate(owners) for finding in _degraded(expert, owner, gates, even)]
    return degraded + [finding for task in tasks for finding in _underfitted(task, gates[task], owners)]


def _degraded(
    expert: int, owner: Sequence[str], gates: Mapping[str, Sequence[float]], even: Mapping[str, float]
) -> list[Finding]:
    if len(owner) < 2:
        return []
    user = max(owner, key=lambda task: gates[task][expert])
    most = gates[user][expert]
    if most < even[user] or any(gates[task][expert] >= _IGNORED * even[task] for task in owner if task != user):
        return []
    others = max(gates[task][expert] for task in owner if task != user)
    start = f"Expert degradation: shared expert {expert} serves {user!r} alone, which takes {most:.0%} of its mixture from it;"
    rest = (
        f"of the others none takes more than {others:.1%}. Cause: the gates polarised, and what a task does not take it does not"
    )
    way_out = "train. Set `expert_dropout` (0.1), take fewer shared experts, or give tasks experts of their own (ple, home)."
    return [Finding("expert degradation", f"expert {expert}", most, f"{start} {rest} {way_out}")]


def _underfitted(task: str, gate: Sequence[float], owners: Sequence[Sequence[str]]) -> list[Finding]:
    own = [share for share, owner in zip(gate, owners, strict=True) if tuple(owner) == (task,)]
    shared = [share for share, owner in zip(gate, owners, strict=True) if task in owner and len(owner) > 1]
    if not own or not shared:
        return []
    even = len(own) / (len(own) + len(shared))
    if sum(own) >= _IGNORED * even or sum(shared) <= _DOMINATED:
        return []
    start = f"Expert underfitting: {task!r} takes {sum(own):.1%} of its mixture from its own {len(own)} expert(s)"
    cause = (
        f"and {sum(shared):.0%} from shared ones. Cause: with few labels or a small loss its own learn too slowly to be chosen."
    )
    way_out = (
        f"Raise the weight or the learning rate of {task!r}, take fewer experts of its own, or sharing 'home' or 'adatt', which"
    )
    return [Finding("expert underfitting", task, 1 - sum(own), f"{start} {cause} {way_out} always add a task's own.")]
