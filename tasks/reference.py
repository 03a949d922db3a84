"""The reference of a task's parameters: the text of ``help``, and a page of the documentation.

``casa-ddpm clean --parameters`` prints the one, ``casa-ddpm clean --parameters markdown``
the other, which is docs/parameters.md.
"""

from __future__ import annotations

import re
import textwrap

from .schema import Parameter, Task

_PAGE = """\
# Parameters

<!-- Made from the task's XML by: casa-ddpm clean --parameters markdown -->

{description}

With ↳: sub-parameters. In CASA's shell `inp` shows them where the last column holds, and they
have the default in brackets there, if there is one, where a call does not give them.

| parameter | default | meaning | shown with |
|---|---|---|---|
{rows}
"""


def text(task: Task) -> str:
    """The text of ``help``: the task, and every parameter with its default.

    Parameters
    ----------
    task : Task
        The task.

    Returns
    -------
    str
        A docstring.
    """
    lines = [task.summary + ".", "", *textwrap.wrap(task.description, 88), ""]
    lines += ["Parameters", "----------"]
    for parameter in task.parameters.values():
        lines.append(f"{parameter.name} : default {parameter.default!r}")
        lines += _indented(_meaning(parameter))
    lines += ["", "Returns", "-------", "dict", *_indented(task.returns)]
    lines += ["", "Examples", "--------", textwrap.dedent(task.example)]
    return "\n".join(lines)


def markdown(task: Task) -> str:
    """The page of the documentation: a table of every parameter.

    Parameters
    ----------
    task : Task
        The task.

    Returns
    -------
    str
        The page, in Markdown.
    """
    rows = [_row(parameter) for parameter in task.parameters.values()]
    return _PAGE.format(description=textwrap.fill(task.description, 98), rows="\n".join(rows))


def _row(parameter: Parameter) -> str:
    cells = [
        f"{'↳ ' if parameter.subparameter else ''}`{parameter.name}`",
        f"`{parameter.default!r}`",
        re.sub(r"([*|~])", r"\\\1", _meaning(parameter)),
        "; ".join(_shown(parameter)),
    ]
    return "| " + " | ".join(cells) + " |"


def _shown(parameter: Parameter) -> list[str]:
    """When a sub-parameter is shown, the values that give it the same default together."""
    groups: dict[tuple[str, bool, str], list[str]] = {}
    for condition in parameter.subparameter_of if parameter.subparameter else ():
        other = condition.default != parameter.default
        default = f" (`{condition.default!r}`)" if other else ""
        key = condition.parent, condition.equal, default
        groups.setdefault(key, []).append(f"`{condition.value!r}`")
    return [
        f"`{parent}` {'=' if equal else '≠'} {', '.join(values)}{default}"
        for (parent, equal, default), values in groups.items()
    ]


def _meaning(parameter: Parameter) -> str:
    """Summary, description and the values that are allowed."""
    words = f"{parameter.summary.rstrip('.')}. {parameter.description}".strip()
    if parameter.allowed:
        words += " One of " + ", ".join(map(repr, parameter.allowed)) + "."
    return words


def _indented(words: str) -> list[str]:
    return textwrap.wrap(words, 88, initial_indent="    ", subsequent_indent="    ")
