"""One block of impressions as two Arrow tables: what a model may see, and what is true."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from polytask.data.synthetic._impressions import Sessions, World
from polytask.data.synthetic._outcomes import OUTCOMES, WATCH_SPREAD, Scales, noisy
from polytask.data.synthetic._population import DEVICES, GENDERS


@dataclass(frozen=True)
class Shown:
    """r impressions in the order shown: session by session, first position first."""

    session: Int[np.ndarray, " r"]
    sessions: Sessions
    row: Int[np.ndarray, " r"]
    item: Int[np.ndarray, " r"]
    position: Int[np.ndarray, " r"]
    examined: Float[np.ndarray, " r"]

    @property
    def user(self) -> Int[np.ndarray, " r"]:
        """User of each impression."""
        return np.asarray(self.sessions.user[self.row])


def truth_table(
    scores: Float[np.ndarray, "r k"], shown: Shown, scales: Scales, noise: float, rng: np.random.Generator
) -> pa.Table:
    """Probabilities, and one draw of every outcome for every row."""
    logit = {name: scales.logit(scores, name) for name in OUTCOMES}
    relevant, buy, like = (noisy(logit[name], noise) for name in ("click", "buy", "like"))
    watch = np.exp(logit["watch"] + WATCH_SPREAD**2 / 2)
    uniform = rng.random((4, len(relevant)))
    looked = uniform[0] < shown.examined
    click = shown.examined * relevant
    return pa.table(
        {
            "true_examination": shown.examined,
            "true_relevance": relevant,
            "true_click": click,
            "true_buy_given_click": buy,
            "true_buy": click * buy,
            "true_like": shown.examined * like,
            "true_watch_given_click": watch,
            "true_watch_mean": click * watch,
            **{f"logit_{name}": logit[name] for name in OUTCOMES},
            "drawn_examined": looked.astype(np.int8),
            "drawn_click": (looked & (uniform[1] < relevant)).astype(np.int8),
            "drawn_buy": (uniform[2] < buy).astype(np.int8),
            "drawn_like": (looked & (uniform[3] < like)).astype(np.int8),
            "drawn_watch": np.exp(logit["watch"] + WATCH_SPREAD * rng.standard_normal(len(relevant))).round(3),
        }
    )


def observed_table(world: World, shown: Shown, truth: pa.Table, hidden: Mapping[str, Bool[np.ndarray, " r"]]) -> pa.Table:
    """The log: ids, attributes, context, and the labels that a log would hold."""
    users, items, user = world.users, world.items, shown.user
    history, weights = _history(shown)
    columns = {
        "session": shown.session,
        "time": shown.sessions.time[shown.row],
        "user_id": _names("u", user),
        "user_gender": _named(GENDERS, users.gender[user]),
        "user_age": pa.array(users.age[user], mask=users.age_known[user] == 0),
        "user_city": _names("city", users.city[user]),
        "user_tenure": users.tenure[user],
        "item_id": _names("i", shown.item),
        "item_category": _names("c", items.category[shown.item]),
        "item_brand": _names("b", items.brand[shown.item]),
        "item_price": items.price[shown.item],
        "device": _named(DEVICES, shown.sessions.device[shown.row]),
        "hour": shown.sessions.hour[shown.row].astype(np.int8),
        "position": (shown.position + 1).astype(np.int8),
        "history": history,
        "history_weight": weights,
    }
    labels = _labels(truth)
    return pa.table(columns | {name: pa.array(value, mask=hidden.get(name)) for name, value in labels.items()})


def _labels(truth: pa.Table) -> dict[str, np.ndarray]:
    """Nothing is bought or watched without a click."""
    drawn = {name: truth[f"drawn_{name}"].to_numpy() for name in OUTCOMES}
    click = drawn["click"]
    return {
        "click": click,
        "buy": drawn["buy"] * click,
        "watch": (drawn["watch"] * click).astype(np.float32),
        "like": drawn["like"],
    }


def _history(shown: Shown) -> tuple[pa.Array, pa.Array]:
    past = shown.sessions.history
    offsets = pa.array(np.concatenate([[0], np.cumsum(past.lengths)]), pa.int32())
    items = pa.ListArray.from_arrays(offsets, _names("i", past.items))
    weights = pa.ListArray.from_arrays(offsets, pa.array(past.weights, pa.float32()))
    rows = pa.array(shown.row)
    return items.take(rows), weights.take(rows)


def _names(prefix: str, codes: Int[np.ndarray, " r"]) -> pa.Array:
    return _named([f"{prefix}{code}" for code in range(codes.max(initial=-1) + 1)], codes)


def _named(names: tuple[str, ...] | list[str], codes: Int[np.ndarray, " r"]) -> pa.Array:
    return pc.take(pa.array(names, pa.string()), pa.array(codes))
