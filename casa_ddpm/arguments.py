"""What numbers of a command line must be."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping


def at_least(args: argparse.Namespace, least: Mapping[str, int]) -> None:
    """Refuse numbers that are too small.

    Parameters
    ----------
    args : argparse.Namespace
    least : mapping of int
        Name of an argument -> its lowest value.

    Raises
    ------
    ValueError
        If one is lower.
    """
    for name, lowest in least.items():
        if getattr(args, name) < lowest:
            raise ValueError(f"{name} must be at least {lowest}, got {getattr(args, name)}")


def numbers(args: argparse.Namespace, name: str, kind: type[int] | type[float]) -> list:
    """The positive numbers that an argument lists, separated by commas.

    Raises
    ------
    ValueError
        If one is no such number.
    """
    text = getattr(args, name)
    try:
        found = [kind(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < number < math.inf for number in found):
        whole = "whole " if kind is int else ""
        raise ValueError(
            f"{name} must be positive {whole}numbers separated by commas, got {text!r}"
        )
    return found
