"""The inputs of a task in CASA's shell: filled in, judged, shown by ``inp``, kept in a file.

As tclean's there: a sub-parameter that is not given takes the default of the
condition that holds. Nothing here needs CASA or its shell.
"""

from __future__ import annotations

import copy
import re
import runpy
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import parameters, rules
from .schema import Parameter

_BOLD, _GREEN, _BLUE, _RED, _OFF = "\033[1m\033[47m", "\033[92m", "\033[34m", "\033[91m", "\033[0m"
#: Characters left of the descriptions, and the fewest that a description gets.
_LEFT, _RIGHT = 50, 20
_WORDS = (str, int, float, bool, list, dict)


def fill(given: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter's value where some are given.

    Parameters
    ----------
    given : mapping
        Values by name, such as the globals of a session; other names are left out.

    Returns
    -------
    dict
        Values in the order of the task: the given one, or the default of the
        condition that holds, or the default.
    """
    known = parameters.task().parameters
    chosen = {name: parameters.in_python(given[name]) for name in known if name in given}
    values = parameters.defaults() | chosen
    missing = [p for p in known.values() if p.subparameter and p.name not in chosen]
    return values | {p.name: default(p, values) for p in missing}


def default(parameter: Parameter, values: Mapping[str, Any]) -> Any:
    """The default of a parameter where the others have these values."""
    condition = parameter.condition(values)
    return copy.deepcopy(condition.default if condition else parameter.default)


def shown(parameter: Parameter, values: Mapping[str, Any]) -> bool:
    """Whether ``inp`` shows a parameter where the others have these values."""
    return not parameter.subparameter or parameter.condition(values) is not None


def bad(values: Mapping[str, Any]) -> set[str]:
    """Names of the parameters that a run would stop at.

    Parameters
    ----------
    values : mapping
        Every parameter by name.

    Returns
    -------
    set of str
        Those of a wrong type or not allowed, and those that break a rule.
    """
    found = set()
    right = parameters.defaults()
    for parameter in parameters.task().parameters.values():
        try:
            right[parameter.name] = parameters.check(parameter, values[parameter.name])
        except (TypeError, ValueError):
            found.add(parameter.name)
    for rule in rules.RULES:
        try:
            rule(right)
        except ValueError as error:
            found |= _named(str(error))
    return found


def _named(message: str) -> set[str]:
    """The parameters that the message of a rule is about: it names them before the verb."""
    subject = re.split(r" must | is not ", message)[0]
    words = re.findall(r"\w+", re.sub(r"'.*?'", "", subject))
    return set(words) & set(parameters.task().parameters)


def screen(given: Mapping[str, Any], width: int) -> str:
    """What ``inp`` shows.

    Parameters
    ----------
    given : mapping
        Values by name, as for `fill`.
    width : int
        Characters in a line of the terminal.

    Returns
    -------
    str
        The task, and a line for each parameter that is shown. As for every CASA
        task a value is red where it is bad, blue where it is not the default;
        parameters that have sub-parameters are bold, and those green.
    """
    task, values = parameters.task(), fill(given)
    wrong = bad(values)
    parents = {c.parent for p in task.parameters.values() for c in p.subparameter_of}
    lines = [f"# {task.name} -- {task.summary}"]
    for parameter in task.parameters.values():
        if shown(parameter, values):
            value = values[parameter.name]
            changed = _BLUE if value != default(parameter, values) else ""
            colour = _RED if parameter.name in wrong else changed
            left = _name(parameter, parameter.name in parents) + _value(value, colour)
            lines += _described(left, _seen(value), parameter.summary, width)
    return "\n".join(lines)


def _name(parameter: Parameter, is_parent: bool) -> str:
    if parameter.subparameter:
        return f"   {_GREEN}{parameter.name:20.20} ={_OFF} "
    return f"{_BOLD}{parameter.name:23.23} ={_OFF} " if is_parent else f"{parameter.name:23.23} = "


def _seen(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def _value(value: Any, colour: str) -> str:
    return f"{colour}{_seen(value):23}{_OFF if colour else ''}"


def _described(left: str, value: str, summary: str, width: int) -> list[str]:
    """Name and value, and beside them the summary; below them where the value is long."""
    words = textwrap.wrap(summary, max(width - _LEFT - 2, _RIGHT), break_long_words=False)
    notes = [f"# {line}" for line in words] or ["#"]
    below = [" " * _LEFT + note for note in notes]
    return [left, *below] if len(value) > 23 else [f"{left} {notes[0]}", *below[1:]]


def save(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write parameters to a file that `load` reads, and the call that they make.

    What is no value (a function that happens to have a parameter's name) is left out.

    Parameters
    ----------
    path : path-like
        The file, written anew.
    values : mapping
        Parameters by name.
    """
    texts = {name: repr(value) for name, value in values.items() if isinstance(value, _WORDS)}
    call = ",".join(f"{name}={text}" for name, text in texts.items())
    lines = [f"{name:20} = {text}" for name, text in texts.items()]
    Path(path).write_text("\n".join([*lines, f"#{parameters.task().name}( {call} )", ""]), "utf-8")


def load(path: str | Path) -> dict[str, Any]:
    """Read the parameters in a file of this task or of tclean; other names are left out.

    Parameters
    ----------
    path : path-like
        A file that `save` or a CASA task wrote. It is Python, and is run.

    Returns
    -------
    dict
        Parameters by name.
    """
    found = runpy.run_path(str(path))
    return {name: found[name] for name in parameters.task().parameters if name in found}
