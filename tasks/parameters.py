"""The parameters of ddpmclean: read from its XML, merged with their defaults and checked.

``ddpmclean.xml`` says what the parameters are; what values make sense together is
said in `casa_ddpm.tasks.rules`. Nothing here needs CASA.
"""

from __future__ import annotations

import copy
import difflib
import math
import os
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from . import rules
from .schema import Parameter, Task, read

#: Kinds of the XML schema: the Python types of a value, and how an error calls them.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "string"),
    "path": ((str,), "path"),
    "int": ((int,), "int"),
    "double": ((float,), "number"),
    "bool": ((bool,), "bool"),
    "variant": ((str, int, float, bool, list, dict), "string, number or list"),
}


#: Parameters that are paths, or may be, and that CASA's XML has as text.
_PATHS = ("imagename", "startmodel", "mask", "vptable", "cfcache", "outlierfile", "network")


@cache
def task() -> Task:
    """The task ddpmclean, from the XML file beside this module."""
    with files(__package__).joinpath("ddpmclean.xml").open("rb") as file:
        return read(file)


def defaults() -> dict[str, Any]:
    """Every parameter's default, in the order of the task; lists are the caller's own."""
    return {name: copy.deepcopy(p.default) for name, p in task().parameters.items()}


def validate(values: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `values` with the defaults, and check types, allowed values and rules.

    As lenient as CASA: a whole number does for a float, a single value for a
    list of one, numpy's scalars and arrays for Python's; '~' is expanded in paths.

    Parameters
    ----------
    values : mapping
        Parameters by name; what is missing takes its default.

    Returns
    -------
    dict
        Every parameter in the order of the task, with plain Python values.

    Raises
    ------
    TypeError
        For an unknown parameter and for a value of the wrong type.
    ValueError
        For a value that is not allowed or breaks a rule.
    """
    known = task().parameters
    for name in values:
        if name not in known:
            raise TypeError(f"ddpmclean has no parameter {name!r}{_suggestion(name, known)}")
    checked = defaults() | {name: check(known[name], value) for name, value in values.items()}
    rules.check(checked)
    return checked


def check(parameter: Parameter, value: Any) -> Any:
    """Check the value of one parameter: its type, and whether it is allowed.

    Parameters
    ----------
    parameter : Parameter
        What the XML says of it.
    value : object
        Its value.

    Returns
    -------
    object
        The value as plain Python of one of the parameter's types.

    Raises
    ------
    TypeError, ValueError
        For a value of a wrong type, and for one that is not allowed.
    """
    plain = _coerce(in_python(value), parameter)
    if parameter.allowed and plain not in parameter.allowed:
        choices = ", ".join(map(repr, parameter.allowed))
        raise ValueError(f"{parameter.name} must be one of {choices}, got {plain!r}")
    if isinstance(plain, float) and not math.isfinite(plain):
        raise ValueError(f"{parameter.name} must be a finite number, got {plain!r}")
    if parameter.bounds and not parameter.bounds[0] <= plain <= parameter.bounds[1]:
        low, high = parameter.bounds
        raise ValueError(f"{parameter.name} must be between {low:g} and {high:g}, got {plain!r}")
    if parameter.types[0].startswith("path") or parameter.name in _PATHS:
        return _expanded(plain)
    return plain


def _expanded(path: Any) -> Any:
    """A path or list of paths with '~' replaced, as CASA does."""
    if isinstance(path, list):
        return [_expanded(one) for one in path]
    return os.path.expanduser(path) if isinstance(path, str) else path


def _coerce(value: Any, parameter: Parameter) -> Any:
    """`value` as it is where it has one of the types; else converted as CASA converts."""
    if any(_is(value, kind) for kind in parameter.types):
        return value
    for kind in parameter.types:
        for candidate in _converted(value, kind):
            if _is(candidate, kind):
                return candidate
    expected = " or ".join(_called(kind) for kind in parameter.types)
    raise TypeError(f"{parameter.name} must be {expected}, got {value!r} ({type(value).__name__})")


def _converted(value: Any, kind: str) -> list[Any]:
    """What `value` may become: floats for ints, a list for a single value."""
    items = value if isinstance(value, list) else [value]
    if kind.startswith("double"):
        items = [float(i) if _is(i, "int") else i for i in items]
    if kind.endswith("Vec"):
        return [items]
    return [] if isinstance(value, list) else items


def _is(value: Any, kind: str) -> bool:
    """Whether `value` is of a type of the schema; a bool is no number here."""
    if kind.endswith("Vec"):
        element = kind.removesuffix("Vec")
        return isinstance(value, list) and all(_is(v, element) for v in value)
    if isinstance(value, bool):
        return kind in ("bool", "variant")
    return isinstance(value, _KINDS[kind][0])


def _called(kind: str) -> str:
    noun = _KINDS[kind.removesuffix("Vec")][1]
    if kind.endswith("Vec"):
        return f"a list of {noun}s"
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def in_python(value: Any) -> Any:
    """Numpy's scalars and arrays, tuples and sub-classes of str as Python's own."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [in_python(v) for v in value]
    return str(value) if isinstance(value, str) else value


def _suggestion(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
