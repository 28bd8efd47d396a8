# Copyright the cmanager authors.
# See LICENSE for details.

"""
Strict reading of TOML tables into frozen attrs classes, and writing them back.
Layer 1; knows no key of this program, L{cmanager.config} has them all.

An attribute C{stanzaBytes} is the key C{stanza-bytes}, unless its metadata says
otherwise: C{{"key": "listener"}} names it, C{{"key": None}} keeps it out of the file.
What a value must be beyond its type stands in the annotation, as L{Accepted}.
Everything that is wrong is found in one pass.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import partial
from types import GenericAlias
from typing import Annotated, Any, get_args, get_origin

import attrs
from attrs import frozen
from cattrs import Converter
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override

SHOWN_CHARACTERS = 60
"""
Of a refused value, not more is repeated to the operator.
"""

MASK = "********"

_SECRET = re.compile("secret|passw|token|credential", re.IGNORECASE)


@frozen
class Accepted:
    """
    What a value must be.

    @ivar text: To stand behind "must be".
    @ivar accepts: Decides about a value of the right type.
    """

    text: str
    accepts: Callable[[Any], bool]  # Any: the type is the annotation's business


def between(low: float, high: float, *, orZero: bool = False) -> Accepted:
    """
    A number from C{low} to C{high}, both included.
    """
    text = f"from {low} to {high}"
    if orZero:
        return Accepted(f"{text}, or 0", lambda v: v == 0 or low <= v <= high)
    return Accepted(text, lambda v: low <= v <= high)


def matching(pattern: str, text: str) -> Accepted:
    """
    A string that C{pattern} matches as a whole.
    """
    compiled = re.compile(pattern)
    return Accepted(text, lambda v: compiled.fullmatch(v) is not None)


class Refused(ValueError):
    """
    A value cannot be accepted.

    @ivar value: As it stands in the file.
    @ivar must: What it must be.
    """

    def __init__(self, value: object, must: str) -> None:
        super().__init__(must)
        self.value = value
        self.must = must


def keyOf(attribute: attrs.Attribute[Any]) -> str | None:
    """
    Return the key of an attribute, or L{None} if it has none.
    """
    if "key" in attribute.metadata:
        key: str | None = attribute.metadata["key"]
        return key
    return re.sub("(?<!^)([A-Z])", lambda m: "-" + m.group().lower(), attribute.name)


def toTOML(value: object) -> str:
    """
    Write one value on one line.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return toTOML(value.value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        pairs = (f"{_bareKey(k)} = {toTOML(_masked(k, v))}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toTOML, value)) + "]"
    return str(value)


def _bareKey(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else toTOML(key)


def _masked(key: str, value: object) -> object:
    return MASK if _SECRET.search(key) else value


def _number(value: object, type_: type) -> int | float:
    if not isinstance(value, bool):
        if isinstance(value, int):
            return type_(value) if abs(value) < 2**53 else value
        if isinstance(value, float) and type_ is float and math.isfinite(value):
            return value
    raise Refused(value, "a whole number" if type_ is int else "a number")


def _text(value: object, type_: type) -> str:
    if isinstance(value, str):
        return value
    raise Refused(value, "a text in quotes")


def _truth(value: object, type_: type) -> bool:
    if isinstance(value, bool):
        return value
    raise Refused(value, "true or false")


def _choice(value: object, type_: type[Enum]) -> Enum:
    for member in type_:
        if member.value == value and isinstance(value, str):
            return member
    raise Refused(value, "one of " + ", ".join(f'"{member.value}"' for member in type_))


def strictConverter() -> Converter:
    """
    Make the converter from parsed TOML.  It takes no number for a truth, no text
    for a number and no key it does not know.
    """
    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    for type_ in (int, float):
        converter.register_structure_hook(type_, _number)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(bool, _truth)
    converter.register_structure_hook_func(
        lambda t: isinstance(t, type) and issubclass(t, Enum), _choice
    )

    def annotated(type_: Any) -> Callable[[object, Any], object]:  # Any: a special form
        base, *rules = get_args(type_)
        read = converter.get_structure_hook(base)

        def hook(value: object, _: Any) -> object:
            must = [rule for rule in rules if isinstance(rule, Accepted)]
            texts = " ".join(rule.text for rule in must)
            try:
                result = read(value, base)
            except Refused as error:
                comma = "," if base is str else ""
                raise Refused(value, f"{error.must}{comma} {texts}") from None
            if not all(rule.accepts(result) for rule in must):
                name = {int: "a whole number ", float: "a number "}.get(base, "")
                raise Refused(value, name + texts)
            return result

        return hook

    def several(type_: Any) -> Callable[[object, Any], object]:
        item: Any = GenericAlias(list, get_args(type_)[:1])  # Any: a type made at run time
        noun = "a list" if not attrs.has(get_args(type_)[0]) else "one or more [[tables]]"

        def hook(value: object, _: Any) -> object:
            if not isinstance(value, list):
                raise Refused(value, noun)
            return tuple(converter.structure(value, item))

        return hook

    def table(type_: Any) -> Callable[[object, Any], object]:
        attrs.resolve_types(type_)
        keys: dict[str, Any] = {  # Any: the function's other parameters have other types
            a.name: override(omit=True) if keyOf(a) is None else override(rename=keyOf(a))
            for a in attrs.fields(type_)
        }
        read = make_dict_structure_fn(type_, converter, **keys)

        def hook(value: object, _: Any) -> object:
            if not isinstance(value, dict):
                raise Refused(value, "a table")
            return read(value, type_)

        return hook

    converter.register_structure_hook_factory(attrs.has, table)
    for special, factory in ((Annotated, annotated), (tuple, several)):
        converter.register_structure_hook_factory(partial(_isA, special), factory)
    return converter


def _isA(special: object, type_: Any) -> bool:  # Any: a special form
    return get_origin(type_) is special


def problems(error: BaseException, path: str = "") -> Iterator[str]:
    """
    Name everything that made a conversion fail, one line each.
    """
    if isinstance(error, ClassValidationError):
        attributes, others = error.group_exceptions()
        for inner, note in attributes:
            key = keyOf(attrs.fields_dict(error.cl)[note.name])
            yield from problems(inner, f"{path}.{key}" if path else str(key))
        for inner in others:
            yield from problems(inner, path)
    elif isinstance(error, IterableValidationError):
        for inner, place in error.group_exceptions()[0]:
            yield from problems(inner, f"{path}[{place.index}]")
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [key for key in map(keyOf, attrs.fields(error.cl)) if key is not None]
        for extra in sorted(error.extra_fields):
            yield f"{path}.{extra}: {_unknown(extra, known)}".removeprefix(".")
    elif isinstance(error, Refused):
        shown = "" if _SECRET.search(path) else " = " + _shorten(toTOML(error.value))
        yield f"{path}{shown}: must be {error.must}"
    elif isinstance(error, KeyError):
        yield f"{path}: is missing"
    else:
        raise error


def _unknown(key: str, known: list[str]) -> str:
    if _SECRET.fullmatch(key) or key == "password":
        return "a secret is never written here; name a file in secret-file"
    near = difflib.get_close_matches(key.replace("_", "-").lower(), known, n=1, cutoff=0.6)
    return f"unknown key; did you mean {near[0]}?" if near else "unknown key"


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def render(settings: object) -> str:
    """
    Write C{settings} as TOML, with each value in effect; unset keys are left out
    and secrets masked.
    """
    return "\n".join(_tables("", settings)).lstrip("\n") + "\n"


def _tables(name: str, settings: Any) -> Iterator[str]:  # Any: any attrs class
    below = []
    for attribute in attrs.fields(type(settings)):
        key, value = keyOf(attribute), getattr(settings, attribute.name)
        if attribute.metadata.get("rest"):
            for k, v in value.items():
                yield f"{_bareKey(k)} = {toTOML(_masked(k, v))}"
        elif key is None:
            if not attribute.repr and value:
                yield f'# {attribute.name} = "{MASK}"'
        elif attrs.has(type(value)):
            below += ["", f"[{key}]", *_tables(key, value)]
        elif isinstance(value, tuple) and value and attrs.has(type(value[0])):
            for item in value:
                below += ["", f"[[{key}]]", *_tables(key, item)]
        elif value is not None and value != ():
            yield f"{key} = {toTOML(value)}"
    yield from below


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:  # Any: any attrs class
    """
    Name the keys whose values differ between two settings of one class.
    """
    for attribute in attrs.fields(type(old)):
        key = keyOf(attribute)
        before, after = getattr(old, attribute.name), getattr(new, attribute.name)
        if before == after or (key is None and attribute.repr):
            continue
        here = f"{path}.{key or attribute.name}".removeprefix(".")
        if attrs.has(type(before)):
            yield from differences(before, after, here)
        elif (
            isinstance(before, tuple)
            and len(before) == len(after)
            and all(attrs.has(type(item)) for item in before)
        ):
            for i, (one, other) in enumerate(zip(before, after, strict=True)):
                yield from differences(one, other, f"{here}[{i}]")
        else:
            yield here
