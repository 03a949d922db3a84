"""Checks of the visibilities that are to be imaged, before anything is written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from casatools import ms, table

from casa_ddpm.casa.images import log

#: tclean's selection parameters and what the ms tool calls them.
SELECTION = {
    "field": "field",
    "scan": "scan",
    "antenna": "baseline",
    "timerange": "time",
    "uvrange": "uvdist",
    "intent": "scanintent",
    "observation": "observation",
    "spw": "spw",
}
#: Rows of flags held in memory at a time.
CHUNK = 20000


class NothingSelected(ValueError):
    """A selection that is right, and that no visibility is in."""


def check_data(parameters: dict) -> None:
    """Check that tclean's data selection holds something to image.

    Parameters
    ----------
    parameters : dict
        tclean's `vis` (a path or a list of paths), `datacolumn` and selection
        parameters; the latter are one value, or a list of one for each path.

    Raises
    ------
    FileNotFoundError
        If a path of `vis` does not exist.
    ValueError
        If `vis` is not a MeasurementSet, lacks the data column, or the selection
        is wrong, empty or flagged throughout.
    """
    paths = _paths(parameters)
    if not paths or not all(isinstance(path, str) and path for path in paths):
        raise ValueError(f"vis must name a MeasurementSet, got {parameters['vis']!r}")
    for path in paths:
        _check_measurement_set(path, parameters["datacolumn"])
    unflagged, nothing = [], []
    for path, chosen in selections(parameters):
        try:
            unflagged.append(_has_data(path, chosen))
        except NothingSelected as error:
            nothing.append(error)
    if nothing and not unflagged:
        raise nothing[0]
    for empty in nothing:
        log(f"{empty}: the other MeasurementSets are imaged", "WARN")
    if not any(unflagged):
        raise ValueError(f"vis={parameters['vis']!r} must hold data that are not all flagged")


def selections(parameters: dict) -> list[tuple[str, dict[str, str]]]:
    """Each MeasurementSet with the selection parameters, not empty, that hold for it.

    Raises
    ------
    ValueError
        If a selection parameter is a list of another length than `vis`.
    """
    paths = _paths(parameters)
    return [(path, _selection(parameters, n, len(paths))) for n, path in enumerate(paths)]


def most_fields(parameters: dict) -> int:
    """The number of fields in that of the MeasurementSets which has most."""
    paths = _paths(parameters)
    numbers = []
    for path in paths:
        with table_of(f"{path}/FIELD") as fields:
            numbers.append(int(fields.nrows()))
    return max(numbers)


def falls_back(parameters: dict) -> list[str]:
    """The MeasurementSets without the CORRECTED_DATA asked for, whose DATA are imaged instead."""
    paths = _paths(parameters)
    if parameters["datacolumn"] != "corrected":
        return []
    return [path for path in paths if "CORRECTED_DATA" not in _columns(path)]


def _paths(parameters: dict) -> list[str]:
    """The paths of `vis`, which may be one alone."""
    vis = parameters["vis"]
    return vis if isinstance(vis, list) else [vis]


def _check_measurement_set(path: str, datacolumn: str) -> None:
    if not os.path.exists(path):
        raise FileNotFoundError(f"vis={path!r} does not exist")
    info = os.path.join(path, "table.info")
    if not os.path.isfile(info) or "Type = Measurement Set" not in _text(info):
        raise ValueError(f"vis={path!r} must be a MeasurementSet")
    columns = _columns(path)
    wanted = {"corrected": {"CORRECTED_DATA", "DATA"}, "data": {"DATA"}, "observed": {"DATA"}}
    if datacolumn not in wanted:
        raise ValueError(f"datacolumn must be one of {', '.join(wanted)}, got {datacolumn!r}")
    if not wanted[datacolumn] & columns:
        raise ValueError(f"datacolumn={datacolumn!r} must exist in vis={path!r}, it has no DATA")


def _selection(parameters: dict, number: int, total: int) -> dict[str, str]:
    """The selection parameters, not empty, that hold for one of the MeasurementSets."""
    chosen = {}
    for name in SELECTION:
        value = parameters.get(name, "")
        if isinstance(value, (list, tuple, np.ndarray)):
            if len(value) not in (1, total):
                raise ValueError(
                    f"{name} must be one value or one for each of the {total} vis, got {value!r}"
                )
            value = value[number if len(value) > 1 else 0]
        if str(value).strip():
            chosen[name] = str(value)
    return chosen


def _has_data(path: str, chosen: dict[str, str]) -> bool:
    """Whether the selection, which must not be empty, holds an unflagged visibility."""
    with open_selected(path, chosen) as tool:
        if tool.nrow(selected=True) == 0:
            raise ValueError(f"vis={path!r} must hold visibilities, it has no rows")
        channels = selected_channels(tool, chosen)
    return any(not flags.all() for flags in _flags(path, chosen, channels))


@contextmanager
def open_selected(path: str, chosen: dict[str, str]) -> Iterator[ms]:
    """CASA's ms tool on what is selected of a MeasurementSet."""
    _check_dates(chosen.get("timerange", ""))
    tool = ms()
    try:
        tool.open(path)
        for name, value in chosen.items():
            if not tool.msselect({SELECTION[name]: value}):
                reason = _reason(tool)
                kind = ValueError if reason else NothingSelected
                raise kind(f"{name}={value!r} selects nothing of vis={path!r}{reason}")
        yield tool
    finally:
        tool.done()


def _check_dates(timerange: str) -> None:
    """Check the dates of a time range: after one that is none CASA leaves its table locked."""
    for date in re.findall(r"\d+/\d+/\d+", timerange):
        year, month, day = map(int, date.split("/"))
        if not (1858 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= 31):
            raise ValueError(
                f"timerange must have dates as year/month/day, got {date!r} in {timerange!r}"
            )


def selected_channels(tool: ms, chosen: dict[str, str]) -> np.ndarray:
    """Spectral window, first and last channel, step of what is selected, (n, 4); none: all."""
    return tool.msselectedindices()["channel"] if "spw" in chosen else np.empty((0, 4), int)


def _reason(tool: ms) -> str:
    """What CASA says about a selection that failed; it says so only when asked for the result."""
    try:
        tool.msselectedindices()
    except RuntimeError as error:
        return f": {' '.join(str(error).split())}"
    return ""


def _flags(path: str, chosen: dict[str, str], channels: np.ndarray) -> Iterator[np.ndarray]:
    """Flags of the selected visibilities, some rows at a time.

    Parameters
    ----------
    path : str
        The MeasurementSet.
    chosen : dict
        The selection.
    channels : ndarray, shape (n, 4)
        Selected spectral window, first and last channel, step; none means all.
    """
    with table_of(f"{path}/DATA_DESCRIPTION") as description:
        windows = description.getcol("SPECTRAL_WINDOW_ID")
    for identifier, window in enumerate(windows):
        ranges = [slice(a, b + 1, step) for w, a, b, step in channels if w == window]
        if len(channels) and not ranges:
            continue
        # Selected anew each time: the tool narrows what it has selected before.
        with open_selected(path, chosen) as tool:
            if not tool.selectinit(identifier):
                continue
            tool.iterinit(maxrows=CHUNK, adddefaultsortcolumns=False)
            more = tool.iterorigin()
            while more:
                rows = tool.getdata(["flag", "flag_row"])
                flags = rows["flag"] | rows["flag_row"]
                yield from (flags[:, r] for r in ranges) if len(channels) else (flags,)
                more = tool.iternext()
            tool.iterend()


@contextmanager
def table_of(path: str) -> Iterator[table]:
    """CASA's table tool on a table that is only read."""
    tool = table()
    try:
        tool.open(path)
        yield tool
    finally:
        tool.done()


def _columns(path: str) -> set[str]:
    with table_of(path) as tool:
        return set(tool.colnames())


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
