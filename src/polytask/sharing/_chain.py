"""A chain of tasks: which follows which."""

from collections.abc import Sequence

from polytask.errors import ConfigError, message, nearest


def check_chain(chain: Sequence[str], tasks: Sequence[str]) -> tuple[str, ...]:
    """The declared chain; all tasks as they were given where none was declared.

    Args:
        chain: Names of tasks, each before the one that follows it; () for all of them in their order.
        tasks: Names of all tasks.

    Raises:
        ConfigError: If a name is no task or comes twice.

    Example:
        >>> check_chain(["click", "buy"], ["buy", "like", "click"])
        ('click', 'buy')
    """
    for place, name in enumerate(chain):
        if name not in tasks:
            raise ConfigError(message("A chain is of tasks.", received=repr(name), way_out=nearest(name, tasks)))
        if name in chain[:place]:
            way_out = "A task stands at one place; leave out the other."
            raise ConfigError(message("A chain holds a task once.", received=list(chain), way_out=way_out))
    return tuple(chain) or tuple(tasks)
