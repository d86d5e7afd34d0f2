"""The contract of the balancers' family."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from polytask.testing import _promises_of_balance as of_balance
from polytask.testing import _promises_over_steps as over_steps
from polytask.testing._rails import MakeBalancer

Scale = Literal["invariant", "equivariant", "none"]
Promises = dict[str, Callable[[MakeBalancer], None]]

WRITTEN: Promises = {
    "the balance says what was done": of_balance.check_balance,
    "the Gramian is that of the present tasks": of_balance.check_gramian,
    "gradients are added": of_balance.check_adding,
    "a penalty is added whatever the weights": of_balance.check_penalty,
    "mistakes are named": of_balance.check_mistakes,
    "weights of the last measurement are used between measurements": over_steps.check_every,
}
OVER_STEPS: Promises = {
    "a loss that is no number is an absence": over_steps.check_not_a_number,
    "the state is whole, and by task name": over_steps.check_state,
    "it does not matter how the place where tasks part is told": of_balance.check_places,
    "float32, float64 and bfloat16 work": over_steps.check_formats,
}


def check_balancer(
    make: MakeBalancer,
    *,
    single_task_is_plain: bool = True,
    absent_changes_others: bool = False,
    scale: Scale | None = None,
    conflict_free: bool = False,
    draws: bool = False,
) -> None:
    """Holds a balancer to the contract of its family: an error says which promise is broken.

    The order of tasks and of losses does not matter; one task alone trains as without a balancer; the balance says what was done,
    and what is private gets its own gradient where gradients are compared; a task without a loss leaves its own state alone; a
    loss that is no number is named and is an absence for all others; state goes by task name through `state_dict` and a
    checkpoint, and the run goes on as it would have; gradients are added to `.grad`, a penalty whatever the weights; a sharing's
    output, activations, parameters or nothing tell the place where tasks part; weights are kept between measurements; a seed
    decides everything; float32, float64 and autocast to bfloat16 work; mistakes are named.

    A balancer of losses alone cannot keep a NaN out of what its task shares with others without waiting for the device, and is
    not asked to.

    Args:
        make: Builds the balancer for some of the tasks "click", "buy" and "time", in any order; called several times, it must
            build equal ones.
        single_task_is_plain: Whether a task alone has its own gradient at weight 1 before any training; else at the weight that
            the balance states.
        absent_changes_others: Whether weights are shared out among the present tasks, as if the balancer had been made for these
            alone; else an absence changes no other weight.
        scale: How the shared gradient follows the units of the losses: "invariant" where another unit of any one loss leaves its
            direction, "equivariant" where only all losses times a number give the gradient times that number, "none" where
            neither holds; None asks nothing.
        conflict_free: Whether the shared gradient has no negative inner product with any task's.
        draws: Whether it draws from torch's global random state.

    Raises:
        AssertionError: Names the broken promise.

    Example:
        >>> from polytask.balancers import Equal
        >>> check_balancer(Equal, scale="equivariant")
    """
    promises: Promises = {"one task alone": partial(of_balance.check_single_task, plain=single_task_is_plain)}
    if conflict_free:
        promises["no task is harmed, to first order"] = of_balance.check_no_conflict
    if scale is not None:
        promises["units of losses matter as declared"] = partial(of_balance.check_scale, scale=scale)
    promises |= {
        "a seed decides everything": partial(over_steps.check_random, draws=draws),
        **WRITTEN,
        "the order of tasks and of losses does not matter": of_balance.check_order,
        "an absent task changes nothing but its absence": partial(over_steps.check_absence, changes_others=absent_changes_others),
        **OVER_STEPS,
    }
    for promise, check in promises.items():
        try:
            check(make)
        except AssertionError:
            raise
        except Exception as error:  # whatever stops it, a promise is broken
            raise AssertionError(f"broken promise: {promise}. It stopped with {type(error).__name__}: {error}") from error
