"""A bandit small enough to go through every log it can give: two contexts, three actions, rewards 0 and 2."""

import itertools

import numpy as np

from polytask.policies import Certainty, Log

CONTEXT = np.array([0.4, 0.6])
LOGGING = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
TARGET = np.array([[0.1, 0.3, 0.6], [0.8, 0.2, 0.0]])
CHANCE = np.array([[0.1, 0.5, 0.9], [0.3, 0.6, 0.2]])  # of a reward of 2
REWARDS = 2.0 * CHANCE
VALUE = float((CONTEXT[:, None] * TARGET * REWARDS).sum())
SURE = Certainty(resamples=0)


def every_log(rows):
    """(probability, contexts, actions, rewards) of every log of so many rows."""
    one = [
        (CONTEXT[x] * LOGGING[x, a] * (CHANCE[x, a] if r else 1 - CHANCE[x, a]), x, a, 2.0 * r)
        for x, a, r in itertools.product(range(2), range(3), range(2))
    ]
    for chosen in itertools.product(one, repeat=rows):
        chances, contexts, actions, rewards = zip(*chosen, strict=True)
        yield np.prod(chances), np.array(contexts), np.array(actions), np.array(rewards)


def log_of(contexts, actions, rewards, logging=LOGGING):
    return Log(rewards, logging[contexts, actions], TARGET[contexts, actions])


def drawn(rows, seed):
    """A random log: contexts, actions, rewards."""
    random = np.random.default_rng(seed)
    contexts = (random.random(rows) < CONTEXT[1]).astype(int)
    actions = (random.random(rows)[:, None] > LOGGING.cumsum(1)[contexts]).sum(1)
    return contexts, actions, 2.0 * (random.random(rows) < CHANCE[contexts, actions])
