"""Tables of methods: their keys, types and defaults are read off the signatures of the registries."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """A method by name, with its options; what was not given has the method's own default.

    Args:
        name: Name in the family's registry.
        options: Keyword arguments of the method.
    """

    name: str
    options: Options = field(default_factory=lambda: MappingProxyType({}))

    def table(self) -> dict[str, Any]:
        """The method as a table of the configuration; None has no place in TOML and is left out."""
        return {"name": self.name} | {key: value for key, value in self.options.items() if value is not None}


@functools.cache
def options_model(factory: Callable[..., Any], supplied: frozenset[str] = frozenset()) -> type[BaseModel]:
    """A pydantic model of the arguments a user may give to `factory`.

    Args:
        factory: A class or function of the library.
        supplied: Arguments that the run supplies itself.

    Example:
        >>> def method(tasks, *, init: float = 0.5): ...
        >>> options_model(method, frozenset({"tasks"})).model_fields["init"].default
        0.5
    """
    skip = supplied | _derived_fields(factory)
    help_of = argument_texts(factory)
    makers = {item.name: item.default_factory for item in _fields(factory) if item.default_factory is not MISSING}
    keys: dict[str, Any] = {}
    for name, parameter in inspect.signature(factory, eval_str=True).parameters.items():
        if name in skip or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        kind = Any if parameter.annotation is parameter.empty else parameter.annotation
        default = ... if parameter.default is parameter.empty else parameter.default
        made = makers.get(name)
        keys[name] = (kind, Field(default_factory=made) if made else Field(default, description=help_of.get(name)))
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, strict=True, protected_namespaces=())
    return create_model(getattr(factory, "__name__", "Options"), __config__=config, **keys)


def argument_texts(factory: Callable[..., Any]) -> dict[str, str]:
    """What the `Args:` section of a docstring says of each argument.

    Example:
        >>> argument_texts(argument_texts)
        {'factory': 'A class or function with a Google docstring.'}

    Args:
        factory: A class or function with a Google docstring.
    """
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(factory) or "", re.MULTILINE | re.DOTALL)
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", section[1], re.MULTILINE) if section else []
    return {name: " ".join(text.split()) for name, text in found}


def first_line(factory: Callable[..., Any]) -> str:
    """What a thing is, in one line: the first of its docstring."""
    return (inspect.getdoc(factory) or "").partition("\n")[0]


def _derived_fields(factory: Callable[..., Any]) -> frozenset[str]:
    """Fields of a frozen value that are learnt from the labels; nobody declares them."""
    return frozenset(item.name for item in _fields(factory) if item.metadata.get("learned"))


def _fields(factory: Callable[..., Any]) -> tuple[Any, ...]:
    return fields(factory) if is_dataclass(factory) else ()
