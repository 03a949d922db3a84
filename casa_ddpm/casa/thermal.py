"""The noise of visibilities, from what changes between integrations that follow each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from casatools import table

from casa_ddpm.casa.visibilities import (
    CHUNK,
    NothingSelected,
    open_selected,
    selected_channels,
    selections,
    table_of,
)

#: Correlations that make Stokes I: RR, LL, XX, YY (casacore's Stokes::StokesTypes).
_PARALLEL = (5, 8, 9, 12)
#: Most channels of a spectral window that are looked at.
_MOST_CHANNELS = 128
#: Visibilities that are read at a time, and most that are read of a spectral window.
_CHUNK, _MOST = 2_000_000, 100_000_000
#: Differences beyond this many times their baseline's median, in power, are no noise.
_OUTLIER = 25.0
#: Baselines with a median of this many times that of all are no better.
_BROKEN = 1000.0
#: What the integrations of a baseline have in common.
_KEYS = ("ANTENNA1", "ANTENNA2", "FIELD_ID", "SCAN_NUMBER")


@dataclass(frozen=True)
class _Pairs:
    """Integrations of a baseline that follow each other, in one correlation: shape (n,) each.

    power: s^2 of `scatter` from each; weight: of it; baseline: a number for each.
    """

    power: np.ndarray
    weight: np.ndarray
    baseline: np.ndarray


def scatter(parameters: dict) -> float:
    """Standard deviation of the real part of a visibility of weight 1 [Jy].

    The sky hardly changes between two integrations of a baseline, the noise does: the
    difference of two visibilities has a variance of s^2 (1/w + 1/w'), whatever the sky and
    the scale of the weights w. An image that weights them as w has a noise of
    s / sqrt(sum of weights). Channels are added up first, because the noise of neighbours
    may be correlated.

    Parameters
    ----------
    parameters : dict
        tclean's `vis`, `datacolumn` and selection parameters.

    Returns
    -------
    float
        NaN where no baseline has two unflagged integrations in a row.
    """
    power, weight = 0.0, 0.0
    for path, chosen in selections(parameters):
        # Of several MeasurementSets some may have nothing that is selected.
        with suppress(NothingSelected):
            for found in _differences(path, chosen, parameters["datacolumn"]):
                for pairs in _clipped(list(_by_baseline(found))):
                    power += float(pairs.weight @ pairs.power)
                    weight += float(pairs.weight.sum())
    return float(np.sqrt(power / weight)) if weight > 0 else float("nan")


def _clipped(baselines: list[_Pairs]) -> Iterator[_Pairs]:
    """Baselines without interference: each by its own noise, as they differ."""
    medians = [np.median(pairs.power) for pairs in baselines]
    most = _BROKEN * np.median(medians) if medians else 0.0
    for pairs, median in zip(baselines, medians, strict=True):
        if median <= most:
            kept = pairs.power <= _OUTLIER * median
            yield _Pairs(pairs.power[kept], pairs.weight[kept], pairs.baseline[kept])


def _by_baseline(chunks: list[_Pairs]) -> Iterator[_Pairs]:
    """The pairs of each baseline."""
    if not chunks:
        return
    power, weight, baseline = (
        np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in ("power", "weight", "baseline")
    )
    order = np.argsort(baseline, kind="stable")
    ends = np.flatnonzero(np.diff(baseline[order])) + 1
    for part in np.split(order, ends):
        if part.size:
            yield _Pairs(power[part], weight[part], baseline[part])


def _differences(path: str, chosen: dict[str, str], column: str) -> Iterator[list[_Pairs]]:
    """The pairs of each data description of a MeasurementSet."""
    with table_of(path) as main:
        corrected = column == "corrected" and "CORRECTED_DATA" in main.colnames()
        data = "CORRECTED_DATA" if corrected else "DATA"
        for number, (window, parallel) in enumerate(_descriptions(path)):
            rows, ranges = _selected(path, chosen, number)
            if parallel.any() and rows.size:
                channels, number_of_channels = _channels(path, window, ranges)
                some = rows[: _MOST // (parallel.size * len(channels)) + 1]
                pairs = list(_pairs(path, main, some, data, parallel, channels))
                # They stand for all visibilities of the window.
                share = number_of_channels / len(channels) * len(rows) / len(some)
                yield [replace(one, weight=share * one.weight) for one in pairs]


def _selected(path: str, chosen: dict[str, str], number: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a data description that are selected, and ranges of channels, shape (n, 4)."""
    # Selected anew each time: the tool narrows what it has selected before.
    with open_selected(path, chosen) as tool:
        ranges = selected_channels(tool, chosen)
        if not tool.selectinit(number):
            return np.empty(0, int), ranges
        return np.sort(tool.range(["rows"])["rows"]), ranges


def _descriptions(path: str) -> list[tuple[int, np.ndarray]]:
    """Each data description's spectral window, and which of its correlations make Stokes I."""
    with table_of(f"{path}/DATA_DESCRIPTION") as description:
        windows = description.getcol("SPECTRAL_WINDOW_ID")
        setups = description.getcol("POLARIZATION_ID")
    with table_of(f"{path}/POLARIZATION") as polarization:
        kinds = [polarization.getcell("CORR_TYPE", int(setup)) for setup in setups]
    return [
        (int(window), np.isin(kind, _PARALLEL)) for window, kind in zip(windows, kinds, strict=True)
    ]


def _channels(path: str, window: int, ranges: np.ndarray) -> tuple[range, int]:
    """The middle of the widest range of channels of a window that is selected; their number."""
    with table_of(f"{path}/SPECTRAL_WINDOW") as windows:
        whole = [range(int(windows.getcell("NUM_CHAN", window)))]
    asked = [range(a, b + 1, step) for w, a, b, step in ranges.tolist() if w == window]
    widest = max(asked or whole, key=len)
    skipped = max(0, len(widest) - _MOST_CHANNELS) // 2
    number = sum(len(one) for one in asked or whole)
    return widest[skipped : skipped + _MOST_CHANNELS], number


def _pairs(
    path: str, main: table, rows: np.ndarray, data: str, parallel: np.ndarray, channels: range
) -> Iterator[_Pairs]:
    """Pairs of rows of one data description, some rows at a time."""
    with table_of(f"{path}/ANTENNA") as antennas:
        number = antennas.nrows()
    each = parallel.size * len(channels)
    # Three integrations at least: pairs that are cut apart are lost.
    step = max(3 * number * (number + 1) // 2, min(CHUNK, _CHUNK // each))
    for start in range(0, len(rows), step):
        part = main.selectrows(rows[start : start + step].tolist())
        try:
            yield _paired(part, data, parallel, channels)
        finally:
            part.done()


def _paired(part: table, name: str, parallel: np.ndarray, channels: range) -> _Pairs:
    """Of visibilities that follow each other on a baseline."""
    time, *keys = (part.getcol(key) for key in ("TIME", *_KEYS))
    order = np.lexsort([time, *keys])
    sorted_keys = np.stack(keys)[:, order]
    # The imager leaves autocorrelations out.
    cross = sorted_keys[0, 1:] != sorted_keys[1, 1:]
    pair = np.flatnonzero((sorted_keys[:, 1:] == sorted_keys[:, :-1]).all(0) & cross)
    first, second = order[pair], order[pair + 1]
    data, flags, weight = _visibilities(part, name, parallel, channels)
    good = ~(flags[..., first] | flags[..., second])
    good &= (weight[..., first] > 0) & (weight[..., second] > 0)
    inverse = np.zeros(good.shape)
    for side in (first, second):
        inverse += 1 / np.where(good, weight[..., side], 1)
    share = np.where(good, 2 / inverse, 0)
    total = (share * np.where(good, data[..., second] - data[..., first], 0)).sum(1)
    variance = (share**2 * inverse).sum(1)
    known = variance > 0
    baselines = np.broadcast_to(keys[0][first] * 100_000 + keys[1][first], known.shape)
    # Half of the power is the real part's.
    power = np.abs(total[known]) ** 2 / variance[known] / 2
    return _Pairs(power, share.sum(1)[known], baselines[known])


def _visibilities(
    part: table, name: str, parallel: np.ndarray, channels: range
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Data, flags and weights of parallel correlations, shape (correlation, channel, row) each."""
    box = [0, channels.start], [-1, channels[-1]], [1, channels.step]
    data, flags = (part.getcolslice(column, *box) for column in (name, "FLAG"))
    # Stokes I is made of visibilities of which no correlation is flagged.
    flags = (flags | part.getcol("FLAG_ROW"))[parallel].any(0)
    by_channel = "WEIGHT_SPECTRUM" in part.colnames() and part.iscelldefined("WEIGHT_SPECTRUM", 0)
    if by_channel:
        weight = part.getcolslice("WEIGHT_SPECTRUM", *box)[parallel]
    else:
        weight = part.getcol("WEIGHT")[parallel][:, None]
    shape = data[parallel].shape
    return data[parallel], np.broadcast_to(flags, shape), np.broadcast_to(weight, shape)
