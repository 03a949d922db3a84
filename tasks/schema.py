"""CASA's task schema: an XML file read into frozen dataclasses.

Reads ``ddpmclean.xml`` and, for comparison, the files that casatasks ships.
"""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAMESPACE = "{http://casa.nrao.edu/schema/psetTypes.html}"


@dataclass(frozen=True)
class Condition:
    """When a sub-parameter is shown, and the default it then has.

    Attributes
    ----------
    parent : str
        The parameter that decides.
    equal : bool
        Whether the parent has to equal `value`, or to differ from it.
    value : object
        The value to compare the parent with.
    default : object
        Default of the sub-parameter where the condition holds.
    """

    parent: str
    equal: bool
    value: Any
    default: Any

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it holds for `values`, by parameter name."""
        return bool(values[self.parent] == self.value) == self.equal


@dataclass(frozen=True)
class Parameter:
    """One parameter, as the XML describes it.

    Attributes
    ----------
    name : str
        Its name.
    types : tuple of str
        Types it takes, in CASA's names: 'string', 'intVec', 'path', 'variant' ...
    default : object
        Its default in a Python call.
    allowed : tuple of str
        The values it may have, () where any is right.
    bounds : tuple of float or None
        The least and the largest number allowed, None where there are none.
    summary, description : str
        A line for ``inp``, and the sentences after it in ``help``.
    subparameter : bool
        Whether ``inp`` shows it, indented, only where one of its conditions holds.
    subparameter_of : tuple of Condition
        Its conditions: the first that holds gives its default within CASA's shell.
    """

    name: str
    types: tuple[str, ...]
    default: Any
    allowed: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    summary: str = ""
    description: str = ""
    subparameter: bool = False
    subparameter_of: tuple[Condition, ...] = ()

    def condition(self, values: Mapping[str, Any]) -> Condition | None:
        """The first condition that holds for `values`, by parameter name, or None."""
        return next((c for c in self.subparameter_of if c.holds(values)), None)


@dataclass(frozen=True)
class Task:
    """A CASA task, as its XML describes it.

    Attributes
    ----------
    name, category, summary, description, returns, example : str
        What help shows of it.
    parameters : dict
        Name to `Parameter`, in the order of a call by position.
    """

    name: str
    category: str
    summary: str
    description: str
    returns: str
    example: str
    parameters: dict[str, Parameter]


def read(path) -> Task:
    """Read a task from a file in CASA's task schema.

    Parameters
    ----------
    path : path-like or file
        The XML file: ddpmclean's, or one of casatasks.

    Returns
    -------
    Task
        What the file says.
    """
    task = ElementTree.parse(path).getroot().find(f"{_NAMESPACE}task")
    if task is None:
        raise ValueError(f"path must be an XML file with a CASA task, got {path}")
    elements = list(task.iter(f"{_NAMESPACE}param"))
    conditions = _conditions(task)
    return Task(
        name=task.get("name", ""),
        category=task.get("category", ""),
        summary=_text(task, "shortdescription"),
        description=_text(task, "description"),
        returns=_text(task, "returns/description"),
        example=_text(task, "example", flow=False),
        parameters={e.get("name", ""): _parameter(e, conditions) for e in elements},
    )


def _parameter(element: ElementTree.Element, conditions: dict) -> Parameter:
    name, kind = element.get("name", ""), element.get("type", "")
    types = tuple(t.text or "" for t in element.findall(f"{_NAMESPACE}type"))
    allowed = element.find(f"{_NAMESPACE}allowed")
    choices = () if allowed is None else tuple(v.text or "" for v in allowed)
    bounded = allowed is not None and allowed.get("kind") == "range"
    return Parameter(
        name=name,
        types=(kind,) if kind != "any" else types or ("variant",),
        default=_value(element.find(f"{_NAMESPACE}value")),
        allowed=() if bounded else choices,
        bounds=(float(choices[0]), float(choices[1])) if bounded else None,
        summary=_text(element, "shortdescription"),
        description=_text(element, "description"),
        subparameter=element.get("subparam", "").lower() == "true",
        subparameter_of=tuple(conditions.get(name, ())),
    )


def _conditions(task: ElementTree.Element) -> dict[str, list[Condition]]:
    """The conditions of every sub-parameter, from the ``when`` elements."""
    found: dict[str, list[Condition]] = {}
    for when in task.iter(f"{_NAMESPACE}when"):
        for test in when:
            value = _scalar(test.get("value", ""), test.get("type", "string"))
            equal = test.tag == f"{_NAMESPACE}equals"
            for default in test:
                condition = Condition(when.get("param", ""), equal, value, _value(default[0]))
                found.setdefault(default.get("param", ""), []).append(condition)
    return found


def _value(element: ElementTree.Element | None) -> Any:
    """What a ``value`` element holds; CASA's own files leave out some of the types."""
    if element is None:
        return ""
    kind, text = element.get("type"), (element.text or "").strip()
    items = [(v.text or "").strip() for v in element]
    if kind is None:
        return _literal(text)
    if kind.endswith("Vec") or items:
        return [_scalar(item, kind.removesuffix("Vec")) for item in items]
    return _scalar(text, kind)


def _scalar(text: str, kind: str) -> Any:
    return _literal(text) if kind in ("int", "double", "bool") else text


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _text(element: ElementTree.Element, path: str, flow: bool = True) -> str:
    """Text of a child element: its words, or its lines as they are."""
    path = "/".join(_NAMESPACE + part for part in path.split("/"))
    text = element.findtext(path) or ""
    return " ".join(text.split()) if flow else text.strip("\n").rstrip()
