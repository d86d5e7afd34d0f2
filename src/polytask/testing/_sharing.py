"""The contract of the sharings' family."""

from collections.abc import Callable

from polytask.testing import _promises_of_running as running
from polytask.testing import _promises_to_tasks as to_tasks
from polytask.testing._probe import MakeSharing

PROMISES: dict[str, Callable[[MakeSharing], None]] = {
    "one representation a task comes out, also for one task only": to_tasks.check_shapes,
    "evaluation draws no random numbers": running.check_evaluation,
    "gates are weights": to_tasks.check_gates,
    "no row sees another row": running.check_rows,
    "a private parameter is trained by its task alone, a shared one by several, none by nobody": to_tasks.check_owners,
    "the junction is a complete cut": to_tasks.check_junction,
    "a penalty and an adversary's guesses are of training only": to_tasks.check_penalty,
    "a penalty holds all tasks alike": to_tasks.check_penalty_of_tasks,
    "a seed decides everything": running.check_seed,
    "the state is plain tensors and whole": running.check_state,
    "the order of the tasks does not matter": to_tasks.check_permutation,
    "float32 and float64 are kept": running.check_floats,
    "bfloat16 works": running.check_bfloat16,
    "replicas run under vmap": running.check_replicas,
    "replicas are trained under vmap": running.check_replica_gradients,
    "the forward pass can be exported": running.check_export,
}


def check_sharing(make: MakeSharing, *, compile: bool = False) -> None:  # noqa: A002 - as torch calls it
    """Holds a sharing to the contract of its family: an error says which promise is broken.

    One representation a task comes out, also for one task only; gates are weights; rows do not see each other in evaluation; what
    is private is trained by its task alone, what is trained by several is not private, and nothing lies idle; the junction is a
    complete cut; permuted tasks give permuted outputs; a penalty and guesses are of training only, and a penalty holds all tasks
    alike; state goes through safetensors and `state_dict` by task name; a seed decides everything; float32, float64 and bfloat16
    work; copies run and are trained under `vmap`; the forward pass can be exported for any number of rows and, where asked,
    compiled whole.

    Inputs are `n d`, or `i n d` where the sharing has several (`num_inputs`).

    Args:
        make: Builds the sharing for an input width and task names, some of "click", "buy" and "time" in any order:
            `functools.partial(MMoE, num_experts=3)`. Called many times; the tasks decide nothing but their own parts.
        compile: Whether `torch.compile` is tried too, which takes seconds; not under an import hook that checks shapes.

    Raises:
        AssertionError: Names the broken promise.

    Example:
        >>> from polytask.sharing import SharedBottom
        >>> check_sharing(SharedBottom)
    """
    promises = {**PROMISES, "it compiles whole": running.check_compile} if compile else PROMISES
    for promise, check in promises.items():
        try:
            check(make)
        except AssertionError:
            raise
        except Exception as error:  # whatever stops it, a promise is broken
            raise AssertionError(f"broken promise: {promise}. It stopped with {type(error).__name__}: {error}") from error
