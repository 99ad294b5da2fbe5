"""What a templated field may hold, and how it is read once its template is rendered.

One value reaches a task in many forms. Take a mapping: it is itself in a DAG with ``render_template_as_native_obj`` and
from an XCom, ``{"a": null}`` after ``| tojson``, ``{'a': None}`` after plain rendering. A name made of digits is a
number in a native DAG; what is None is the text ``None`` in a plain one. So each class of operator says for each of its
fields what kind of value it takes, and every form of a value is read to the same:

    kinds = {"run_id": NAME, "resume": FLAG.or_else(False)}

An empty text, ``None`` or ``null`` is *not given*: the field has its default then, or is missing. Space around
a text is not part of it.
"""

from __future__ import annotations

import json
import math
import os
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, ClassVar
from uuid import UUID

from snn.errors import InvalidInput

_REQUIRED: Any = object()
_NONE = ("None", "null")
_SHOWN = 80  # characters of a wrong value that its error shows


class Unfit(ValueError):
    """A value is not what its field takes."""


@dataclass(frozen=True)
class Kind:
    """What a field takes: `wanted` and `hint` are for the error, `read` returns the value or raises Unfit."""

    wanted: str
    hint: str
    read: Callable[[Any], Any]
    default: Any = _REQUIRED
    missing: tuple[str, ...] = ("", *_NONE)  # texts that say: not given
    argument: str = ""  # the operator's, where the field is called otherwise

    def or_else(self, default: Any) -> Kind:
        """Return the kind of a field that may be left out."""
        return replace(self, default=default)

    def __call__(self, field: str, given: Any) -> Any:
        """Return what a field's value means. Raises InvalidInput, which names the field, the value's type and the hint.

        What was read already is read to itself.
        """
        field = self.argument or field
        if isinstance(given, str):
            given = str(given).strip()  # what `tojson` makes is a text of Jinja's own type
        if given is None or (isinstance(given, str) and given in self.missing):
            if self.default is _REQUIRED:
                raise InvalidInput(f"is missing: its value is {given!r}", field=field, hint=self.hint)
            return self.default
        try:
            return self.read(given)
        except Unfit as error:
            problem = f"{_shown(given)} is of type {type(given).__name__}, expected {self.wanted}"
            if str(error):
                problem = f"{problem}: {error}"
            raise InvalidInput(problem, field=field, hint=self.hint) from None


class TemplatedFields:
    """An operator or sensor whose templated fields are read by their kinds."""

    kinds: ClassVar[Mapping[str, Kind]] = {}
    """What each templated field takes; a class adds its own to those of the classes that it is made from."""
    template_fields: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        kinds: dict[str, Kind] = {}
        for each in reversed(cls.__mro__):
            kinds.update(each.__dict__.get("kinds", {}))
        cls.kinds = kinds
        if "template_fields" not in cls.__dict__:
            cls.template_fields = tuple(sorted(kinds))
        if unknown := sorted(set(cls.template_fields) - set(kinds)):
            raise TypeError(f"{cls.__name__}: the template field {unknown[0]} has no kind: add it to `kinds`")

    def read_fields(self) -> None:
        """Put into each templated field what its rendered value means. Raises InvalidInput."""
        for field in self.template_fields:
            setattr(self, field, self.kinds[field](field, getattr(self, field)))


def value(given: Any) -> Any:
    """Return any value: what a text stands for as JSON or as Python prints it, else the text itself."""
    if not isinstance(given, str):
        return given
    return None if given.strip() in ("", *_NONE) else _literal(given)


def _literal(text: str) -> Any:
    """Return what a text stands for, the text itself if it is neither JSON nor a value as Python prints it."""
    try:
        return _parse(text)
    except Unfit:
        return text


def _parse(text: str) -> Any:
    """Return the value of a text. Raises Unfit, also for a key that stands twice in JSON."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except Unfit:
        raise
    except (ValueError, RecursionError) as error:
        try:
            found = literal_eval(text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            found = ...
        if not isinstance(found, (dict, list, tuple, str, int, float, type(None))):
            raise Unfit(f"it is not JSON: {error}") from None
        return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise Unfit(f"{next(key for key in keys if keys.count(key) > 1)} stands twice")
    return found


def _name(given: Any) -> str:
    if isinstance(given, str):
        meant = _literal(given)
        if isinstance(meant, (bool, dict, list, tuple)):
            raise Unfit
        return meant if isinstance(meant, str) else given  # digits are a name too, just as they stand
    if isinstance(given, os.PathLike):
        return str(given)
    if isinstance(given, (int, date, UUID)) and not isinstance(given, bool):
        return str(given)
    raise Unfit("what it was before it became a number is lost" if isinstance(given, float) else "")


def _flag(given: Any) -> bool:
    word = str(given).strip().lower() if isinstance(given, (str, int)) else ""
    if word in ("true", "1"):
        return True
    if word in ("false", "0"):
        return False
    raise Unfit


def _verify(given: Any) -> bool | str:
    try:
        return _flag(given)
    except Unfit:
        return _name(given)


def _number(given: Any) -> int | float:
    meant = _literal(given) if isinstance(given, str) else given
    if isinstance(meant, bool) or not isinstance(meant, (int, float)):
        raise Unfit
    try:
        if math.isfinite(meant):
            return meant
    except OverflowError:
        pass
    raise Unfit


def _mapping(given: Any) -> dict[str, Any]:
    meant = _parse(given) if isinstance(given, str) else given
    if not isinstance(meant, Mapping):
        raise Unfit
    return dict(meant)


def _having(**read: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """Return what reads a mapping that must have these keys, each of which is read as said."""

    def having(given: Any) -> dict[str, Any]:
        found = _mapping(given)
        for key, read_one in read.items():
            if key not in found:
                raise Unfit(f"it has no {key}")
            try:
                found[key] = read_one(found[key])
            except Unfit:
                raise Unfit(f"its {key} is {_shown(found[key])}") from None
        return found

    return having


def _named_values(given: Any) -> dict[str, Any]:
    return {name: value(each) for name, each in _mapping(given).items()}


def _document(given: Any) -> dict[str, Any] | str:
    if isinstance(given, Mapping) or (isinstance(given, str) and given.lstrip().startswith("{")):
        return _mapping(given)
    return _name(given)


def _list(of: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """Return what reads a list; a single element stands for a list of one."""

    def read(given: Any) -> list[Any]:
        meant = _literal(given) if isinstance(given, str) else given
        if isinstance(meant, (str, bytes, Mapping)) or not isinstance(meant, Iterable):
            meant = [given if isinstance(meant, (int, float)) else meant]
        found = []
        for number, each in enumerate(meant, start=1):
            try:
                found.append(of(each))
            except Unfit as error:
                raise Unfit(f"element {number} is {_shown(each)}{error and f', {error}'}") from None
        return found

    return read


def _photo(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return _name(given)
    # A list that was too long for XCom, or one photo.
    return _having(whole=_name)(given) if "whole" in given else _having(uri=_name)(given)


def _combinations(given: Any) -> Any:
    meant = _literal(given) if isinstance(given, str) else given
    return _list(_mapping)(meant) if isinstance(meant, (list, tuple)) else _mapping(given)


def _stack(given: Any) -> dict[str, Any] | str:
    meant = _literal(given) if isinstance(given, str) else given
    return _having(stack_name=_name)(meant) if isinstance(meant, Mapping) else _name(given)


def _etag(given: Any) -> str:
    return _name(given).strip('"')


def _time(given: Any) -> datetime:
    try:
        time = given if isinstance(given, datetime) else datetime.fromisoformat(_name(given))
    except ValueError:
        raise Unfit from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _shown(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 2]} …"


_BY_HAND = "see what the task's page shows under Rendered Templates"
_MAPPING = 'give a mapping, such as {"epochs": 500}, or its JSON'

NAME = Kind("a text", f"give a name, a path or a number that is one; {_BY_HAND}", _name)
FLAG = Kind("true or false", "give true or false", _flag)
VERIFY = Kind("true, false or a path", "give true, false or the path of a CA bundle", _verify)
NUMBER = Kind("a number", "give a number, such as 0.2", _number)
MAPPING = Kind("a mapping", _MAPPING, _mapping)
VALUES = Kind("a mapping", _MAPPING, _named_values)
DOCUMENT = Kind("a mapping, JSON text or a path", f"{_MAPPING}, or a path or s3:// address of a file", _document)
COMBINATIONS = Kind(
    "a grid or a list of mappings",
    'give a grid such as {"learning_rate": [0.001, 0.01]}, or a list of objects',
    _combinations,
)
PATHS = Kind("a list of paths", "give a list of paths or s3:// addresses", _list(_name))
PHOTOS = Kind("a list of photos", "give the stage task's images, or a list of paths or s3:// addresses", _list(_photo))
ANSWERS = Kind("a list of mappings", "give what the predict task returned", _list(_mapping))
SWEEP = Kind("a mapping with sweep_id", "give the plan task's XCom sweep", _having(sweep_id=_name))
DECISION = Kind(
    "a mapping with promote",
    "give the compare task's XCom decision",
    _having(promote=_flag),
)
STACK = Kind("a stack's name or outputs", "give the stack's name, or what the deploy task returned", _stack)
ETAG = Kind("an ETag", "give the compare task's XCom champion_etag", _etag, missing=_NONE)  # "": there was no champion
TIME = Kind("a time", "give a time such as 2026-11-29 or 2026-11-29T03:00:00+00:00", _time)
