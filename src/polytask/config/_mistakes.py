"""All mistakes of a declared run, gathered before any is reported."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from polytask.errors import ConfigError, PolytaskError, message, nearest


class Mistake(NamedTuple):
    """One thing that is wrong, and where.

    Args:
        place: Dotted path in the configuration, such as `sharing.num_experts` or `task.click.weight`.
        text: What was expected, what was received, a way out.
    """

    place: str
    text: str


class Mistakes:
    """A list that grows while a configuration is read and is raised once, whole.

    Example:
        >>> mistakes = Mistakes()
        >>> mistakes.unknown("sharing.num_expert", 8, ["num_experts", "hidden"])
        >>> print(mistakes.found[0].text)
        There is no such key. Received: 8. Did you mean 'num_experts'?
    """

    def __init__(self) -> None:
        self.found: list[Mistake] = []

    def add(self, place: str, expected: str, received: object, way_out: str = "") -> None:
        """Notes a mistake."""
        self.found.append(Mistake(place, message(expected, received=received, way_out=way_out)))

    def unknown(self, place: str, received: object, valid: Iterable[str]) -> None:
        """Notes a key that does not exist, with the nearest that does."""
        self.add(place, "There is no such key.", repr(received), nearest(place.rpartition(".")[2], valid))

    def unnamed(self, place: str, name: object, valid: Iterable[str], what: str) -> None:
        """Notes a value that should have been one of a few names."""
        self.add(place, f"There is no such {what}.", repr(name), nearest(str(name), valid))

    @contextmanager
    def noting(self, place: str) -> Iterator[None]:
        """Notes what a constructor of the library refuses inside the block."""
        try:
            yield
        except PolytaskError as error:
            self.found.append(Mistake(place, str(error)))

    def of_validation(self, place: str, table: Mapping[str, object], error: ValidationError, model: type[BaseModel]) -> None:
        """Notes everything pydantic found in one table; the branches of a union become one mistake."""
        complaints: dict[str, tuple[object, list[str]]] = {}
        for detail in error.errors(include_url=False):
            keys = _written(detail["loc"], table)
            here = ".".join(filter(None, [place, *keys]))
            if detail["type"] == "extra_forbidden":
                self.unknown(here, detail["input"], _fields(model, keys[:-1]))
            elif detail["type"] == "missing":
                missing = f"{here}.{detail['loc'][-1]}".lstrip(".")
                self.found.append(Mistake(missing, "This key is required: it has no default."))
            else:
                complaints.setdefault(here, (detail["input"], []))[1].append(detail["msg"])
        for here, (received, texts) in complaints.items():
            what = " or ".join(dict.fromkeys(text.removeprefix("Input should ") for text in texts))
            self.add(here, what if what.startswith("Value error") else f"Should {what}.", repr(received))

    def report(self, source: str) -> None:
        """Raises all mistakes as one.

        Raises:
            ConfigError: If there is any mistake.
        """
        if not self.found:
            return
        unique = list(dict.fromkeys(self.found))
        count = "1 mistake" if len(unique) == 1 else f"{len(unique)} mistakes"
        raise ConfigError(f"{source} has {count}:" + "".join(f"\n  {place}: {text}" for place, text in unique))


def _written(location: Sequence[int | str], table: Any) -> list[str]:
    """The path as the user wrote it: pydantic adds the name of the branch of a union (`lr.float`)."""
    path = []
    for key in location:
        if key in table if isinstance(table, Mapping) else isinstance(table, list) and isinstance(key, int):
            table = table[key]
            path.append(str(key))
    return path


def _fields(model: type[BaseModel], keys: list[str]) -> list[str]:
    """Names valid in the table at `keys` below a model."""
    for key in keys:
        field = model.model_fields.get(key)
        options = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        below = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
        if not below:
            return []
        model = below[0]
    return list(model.model_fields)
