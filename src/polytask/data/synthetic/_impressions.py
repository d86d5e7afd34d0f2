"""Sessions of the feed, drawn in blocks: a block depends on the seed and its own number alone, so any cut of the rows agrees."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from polytask.data.synthetic._population import DEVICES, Items, Pairs, Users

BLOCK_SESSIONS = 512
SECONDS_PER_SESSION = 60
"""One session a minute: 1,440 a day."""

_DEVICE_SHARE = (0.7, 0.1, 0.2)
_MEAN_HISTORY = 8
_MAX_HISTORY = 30
_FADING = 0.9
"""Weight of a past item against the one after it."""


@dataclass(frozen=True)
class Histories:
    """Past items of n sessions laid flat, the latest first, with fading weights."""

    items: Int[np.ndarray, " v"]
    weights: Float[np.ndarray, " v"]
    lengths: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class Sessions:
    """n sessions of p shown items, before positions are given."""

    user: Int[np.ndarray, " n"]
    device: Int[np.ndarray, " n"]
    time: Int[np.ndarray, " n"]
    item: Int[np.ndarray, "n p"]
    history: Histories

    @property
    def hour(self) -> Int[np.ndarray, " n"]:
        """Hour of the day."""
        return self.time // 3600 % 24


@dataclass(frozen=True)
class World:
    """Everything that stays the same from session to session."""

    users: Users
    items: Items
    pairs: Pairs
    num_positions: int

    def draw(self, rng: np.random.Generator, first_session: int) -> Sessions:
        """One block of sessions."""
        n = BLOCK_SESSIONS
        user = _choose(rng.random(n), self.users.popularity)
        number = first_session + np.arange(n)
        return Sessions(
            user=user,
            device=_choose(rng.random(n), np.array(_DEVICE_SHARE)),
            time=number * SECONDS_PER_SESSION + rng.integers(0, SECONDS_PER_SESSION, n),
            item=_choose(rng.random((n, self.num_positions)), self.items.popularity),
            history=self._histories(user, rng),
        )

    def factors(self, sessions: Sessions) -> Float[np.ndarray, "n p k"]:
        """The sum of all components for every shown item: one raw factor an outcome."""
        category = self.items.category[sessions.item]
        rows = np.arange(len(sessions.user))[:, None]
        total: np.ndarray = self.users.effect[sessions.user][:, None] + self.items.effect[sessions.item]
        total += self.pairs.affinity[self.users.segment[sessions.user][:, None], category]
        total += self.pairs.context[sessions.device, sessions.hour][:, None]
        total += self._past(sessions.history)[rows, category]
        return total

    def _past(self, history: Histories) -> Float[np.ndarray, "n c k"]:
        """What the history says about an item of each category; nothing where there is no history."""
        num_categories = len(self.pairs.category_taste)
        session = np.repeat(np.arange(len(history.lengths)), history.lengths)
        place = session * num_categories + self.items.category[history.items]
        mass = np.bincount(place, history.weights, minlength=len(history.lengths) * num_categories)
        mass = mass.reshape(-1, num_categories)
        share = mass / np.maximum(mass.sum(1, keepdims=True), 1e-12)
        return np.asarray(np.einsum("nc,cjk->njk", share, self.pairs.history))

    def _histories(self, user: Int[np.ndarray, " n"], rng: np.random.Generator) -> Histories:
        """Past items from the categories a user likes; about one session in nine has none."""
        lengths = np.minimum(rng.geometric(1 / (_MEAN_HISTORY + 1), len(user)) - 1, _MAX_HISTORY)
        owner = np.repeat(np.arange(len(user)), lengths)
        liking = np.exp(self.users.taste[user] @ self.pairs.category_taste.T)
        reach = np.cumsum(liking, axis=1)
        category = (rng.random(len(owner)) * reach[owner, -1])[:, None] >= reach[owner]
        items = self._within_category(category.sum(1).clip(max=reach.shape[1] - 1), rng.random(len(owner)))
        age = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return Histories(items, (_FADING**age).astype(np.float32).astype(float), lengths)

    def _within_category(self, category: Int[np.ndarray, " v"], uniform: Float[np.ndarray, " v"]) -> Int[np.ndarray, " v"]:
        """An item of each category by popularity; where a category has no item, the next one in order."""
        order = np.argsort(self.items.category, kind="stable")
        cumulative = np.concatenate([[0.0], np.cumsum(self.items.popularity[order])])
        edges = np.searchsorted(self.items.category[order], np.arange(len(self.pairs.category_taste) + 1))
        low, high = cumulative[edges[category]], cumulative[edges[category + 1]]
        place = np.searchsorted(cumulative, low + uniform * (high - low), side="right") - 1
        return np.asarray(order[place.clip(0, len(order) - 1)])


def examination_curve(decay: dict[str, float], num_positions: int) -> Float[np.ndarray, "d p"]:
    """Probability that the item at each position is looked at, `position ** -decay`, by device."""
    positions = np.arange(1, num_positions + 1, dtype=float)
    return np.stack([positions ** -decay[device] for device in DEVICES])


def _choose(uniform: Float[np.ndarray, "..."], probability: Float[np.ndarray, " m"]) -> Int[np.ndarray, "..."]:
    cumulative = np.cumsum(probability)
    return np.asarray(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
