"""From scores and logs to the probability of every item at a place."""

import numpy as np
from jaxtyping import Float, Int

from polytask.errors import DataError, message


def ranked_policy(
    scores: Float[np.ndarray, "n m"], position: Int[np.ndarray, " n"], *, explore: float = 0.0
) -> Float[np.ndarray, "n m"]:
    """Probability of every item at the place of a row, where a list is ranked by score: the policy that a fusion makes.

    Place j holds the item with the j-th greatest score; equal scores are put in random order.

    Example:
        >>> ranked_policy(np.array([[0.1, 0.7, 0.7, 0.2]]), np.array([1])).tolist()
        [[0.0, 0.5, 0.5, 0.0]]

    Args:
        scores: Score of each of m candidates, for each row.
        position: Place of each row, from 0.
        explore: Chance that the place is filled at random instead.

    Raises:
        DataError: If a place is beyond the list, or the chance is none.
    """
    rows, items = scores.shape
    if rows and not (position.min() >= 0 and position.max() < items):
        raise DataError(message(f"Places lie in 0 to {items - 1}.", received=f"{position.min()} to {position.max()}"))
    if not 0 <= explore <= 1:
        raise DataError(message("A chance lies in 0 to 1.", received=explore))
    chosen = np.take_along_axis(-np.sort(-scores, axis=1), position[:, None], axis=1)
    equal = scores == chosen
    policy: np.ndarray = (1 - explore) * equal / equal.sum(axis=1, keepdims=True) + explore / items
    return policy


def logged_policy(item: Int[np.ndarray, " n"], position: Int[np.ndarray, " n"], *, num_items: int) -> Float[np.ndarray, "s m"]:
    """Share of every item at each place of a log: what its policy did on average, where contexts are left aside.

    The probability that a policy which is only known by its log gives to a row of another log is `policy[position, item]`.

    Example:
        >>> logged_policy(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]), num_items=2).tolist()
        [[0.5, 0.5], [0.0, 1.0]]

    Args:
        item: Item of each row, from 0.
        position: Place of each row, from 0; every place up to the last occurs.
        num_items: Number of items m.

    Raises:
        DataError: If an item is beyond the number, or a place has no row.
    """
    if len(item) and not (item.min() >= 0 and item.max() < num_items):
        raise DataError(message(f"Items lie in 0 to {num_items - 1}.", received=f"{item.min()} to {item.max()}"))
    places = int(position.max(initial=-1)) + 1
    counts = np.bincount(position.astype(np.int64) * num_items + item, minlength=places * num_items).reshape(places, num_items)
    empty = np.flatnonzero(counts.sum(axis=1) == 0)
    if not places or len(empty):
        raise DataError(message("Every place must occur in the log.", received=f"no row at {empty.tolist() or 'any'}"))
    shares: np.ndarray = counts / counts.sum(axis=1, keepdims=True)
    return shares


def of_logged(policy: Float[np.ndarray, "n m"], item: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Value of each row's own item: its probability under a policy, or its predicted reward.

    Example:
        >>> of_logged(np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([1, 0])).tolist()
        [0.8, 0.5]

    Args:
        policy: A number for every item of each row.
        item: Item of each row, from 0.
    """
    own: np.ndarray = np.take_along_axis(policy, item[:, None].astype(np.int64), axis=1)[:, 0]
    return own


def expected_reward(policy: Float[np.ndarray, "n m"], rewards: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " n"]:
    """Mean predicted reward of each row under a policy.

    Example:
        >>> expected_reward(np.array([[0.25, 0.75]]), np.array([[1.0, 0.0]])).tolist()
        [0.25]

    Args:
        policy: Probability of every item of each row.
        rewards: Predicted reward of every item of each row.
    """
    expected: np.ndarray = np.einsum("nm,nm->n", policy, rewards)
    return expected
