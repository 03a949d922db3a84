"""The values that a rule looks at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Every parameter of ddpmclean by name, each of a right type.
Values = Mapping[str, Any]


def as_list(value: Any) -> list[Any]:
    """A list as it is, and of a single value a list of one."""
    return value if isinstance(value, list) else [value]
