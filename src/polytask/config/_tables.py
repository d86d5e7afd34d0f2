"""Validates the tables of a declared run, one by one, noting every mistake."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from polytask.config._families import FACTORIES, FAMILIES, Factory
from polytask.config._methods import Method, options_model
from polytask.config._mistakes import Mistakes

Table = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


class Tables:
    """The tables of one declared run.

    Args:
        written: The configuration with its overrides.
        before: The configuration as it was written.
        mistakes: Where mistakes are noted.
    """

    def __init__(self, written: Table, *, before: Table, mistakes: Mistakes) -> None:
        self.written, self.before, self.mistakes = written, before, mistakes
        self.notes: list[str] = []
        self.resolved: Table = {}

    def get(self, place: str) -> Table:
        """A copy of one table; empty where it was not written."""
        table = self.written.get(place, {})
        if isinstance(table, Mapping):
            return dict(table)
        self.mistakes.add(place, f"Should be a table: [{place}].", repr(table))
        return {}

    def items(self, place: str) -> list[Table]:
        """Copies of a list of tables."""
        items = self.written.get(place, [])
        if isinstance(items, list) and all(isinstance(item, dict) for item in items):
            return [dict(item) for item in items]
        self.mistakes.add(place, f"Should be a list of tables: [[{place}]].", repr(items))
        return []

    def section(self, place: str, model: type[Model], table: Table | None = None) -> Model | None:
        """A fixed table, or None where it has a mistake."""
        table = self.get(place) if table is None else table
        try:
            return model.model_validate_json(json.dumps(table, default=str), strict=True)
        except ValidationError as error:
            self.mistakes.of_validation(place, table, error, model)
            return None

    def factory(self, place: str, table: Table | None = None) -> Table | None:
        """Arguments of the one factory of a place."""
        factory, supplied = FACTORIES[place]
        return self._options(place, self.get(place) if table is None else table, factory, supplied)

    def method(self, family: str, table: Table, place: str = "") -> Method | None:
        """A member of a family with its arguments."""
        kind, place = FAMILIES[family], place or family
        name = table.pop(kind.tag, kind.default)
        if name is None:
            valid = f"Valid: {', '.join(map(repr, kind.members))}."
            self.mistakes.add(f"{place}.{kind.tag}", "This key is required: it has no default.", "nothing", valid)
            return None
        if not isinstance(name, str) or name not in kind.members:
            self.mistakes.unnamed(f"{place}.{kind.tag}", name, kind.members, kind.what)
            return None
        options = self._options(place, self._fitting(family, name, table), kind.members[name], kind.supplied)
        if options is None:
            return None
        return Method(name, options)

    def _options(self, place: str, table: Table, factory: Factory, supplied: frozenset[str]) -> Table | None:
        model = options_model(factory, supplied)
        bound = self.section(place, model, table)
        return None if bound is None else {name: getattr(bound, name) for name in model.model_fields}

    def _fitting(self, family: str, name: str, table: Table) -> Table:
        """Drops options written for another method where an override changed the name."""
        kind, before = FAMILIES[family], self.before.get(family)
        if not isinstance(before, dict) or before.get(kind.tag, kind.default) == name:
            return table
        known = options_model(kind.members[name], kind.supplied).model_fields
        stale = [key for key in table if key not in known and before.get(key) == table[key]]
        if stale:
            self.notes.append(f"{family}.{kind.tag} is {name!r}: {', '.join(f'{family}.{key}' for key in stale)} not used.")
        return {key: value for key, value in table.items() if key not in stale}


def plain(options: Mapping[str, Any]) -> Table:
    """Options as TOML has them; None has no place there and is left out."""
    return {key: json.loads(json.dumps(value)) for key, value in options.items() if value is not None}
