"""The noise of visibilities, from what changes between integrations that follow each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from casa_ddpm.casa.visibilities import CHUNK, open_selected, selections, table_of

#: Correlations that make Stokes I: RR, LL, XX, YY (casacore's Stokes::StokesTypes).
_PARALLEL = (5, 8, 9, 12)
#: Most rows that are read of each MeasurementSet and spectral window.
_MOST = 50 * CHUNK
#: Differences beyond this many times the median, in power, are no noise.
_OUTLIER = 25.0


def scatter(parameters: dict) -> float:
    """Standard deviation of the real part of a visibility of weight 1 [Jy].

    The sky hardly changes between two integrations of a baseline, the noise does: the
    difference of two visibilities has a variance of s^2 (1/w + 1/w'), whatever the sky and
    the scale of the weights w. An image that weights them as w has a noise of
    s / sqrt(sum of weights).

    Parameters
    ----------
    parameters : dict
        tclean's `vis`, `datacolumn` and selection parameters.

    Returns
    -------
    float
        NaN where no baseline has two unflagged integrations in a row.
    """
    powers, weights = [], []
    for path, chosen in selections(parameters):
        for power, weight in _differences(path, chosen, parameters["datacolumn"]):
            powers.append(power)
            weights.append(weight)
    power, weight = (np.concatenate([np.zeros(0), *parts]) for parts in (powers, weights))
    if not power.size:
        return float("nan")
    kept = power < _OUTLIER * np.median(power)
    if not kept.any():  # all of them are 0
        return 0.0
    return float(np.sqrt(np.average(power[kept], weights=weight[kept])))


def _differences(
    path: str, chosen: dict[str, str], column: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Powers s^2 of differences of visibilities, and their weights, some rows at a time."""
    with table_of(path) as main:
        corrected = column == "corrected" and "CORRECTED_DATA" in main.colnames()
    name = "corrected_data" if corrected else "data"
    for identifier, parallel in enumerate(_parallel(path)):
        with open_selected(path, chosen) as tool:
            if not parallel.any() or not tool.selectinit(identifier):
                continue
            tool.iterinit(maxrows=CHUNK, adddefaultsortcolumns=False)
            more, read = tool.iterorigin(), 0
            while more and read < _MOST:
                rows = tool.getdata([name, "flag", "flag_row", "weight", "time", *_KEYS])
                read += len(rows["time"])
                yield _paired(rows, name, parallel)
                more = tool.iternext()
            tool.iterend()


#: What the integrations of a baseline have in common.
_KEYS = ("antenna1", "antenna2", "field_id", "scan_number")


def _paired(
    rows: dict[str, np.ndarray], name: str, parallel: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of visibilities that follow each other on a baseline."""
    order = np.lexsort([rows["time"], *(rows[key] for key in _KEYS)])
    keys = np.stack([rows[key][order] for key in _KEYS])
    pair = np.flatnonzero((keys[:, 1:] == keys[:, :-1]).all(0))
    first, second = order[pair], order[pair + 1]
    data = rows[name][parallel]
    bad = (rows["flag"] | rows["flag_row"])[parallel]
    weight = np.broadcast_to(rows["weight"][parallel][:, None], data.shape)
    good = ~(bad[..., first] | bad[..., second])
    good &= (weight[..., first] > 0) & (weight[..., second] > 0)
    difference = (data[..., second] - data[..., first])[good]
    inverse = 1 / weight[..., first][good] + 1 / weight[..., second][good]
    # Half of the power is the real part's.
    return np.abs(difference) ** 2 / inverse / 2, 2 / inverse


def _parallel(path: str) -> list[np.ndarray]:
    """For each data description, which of its correlations make Stokes I."""
    with table_of(f"{path}/DATA_DESCRIPTION") as description:
        identifiers = description.getcol("POLARIZATION_ID")
    with table_of(f"{path}/POLARIZATION") as polarization:
        return [
            np.isin(polarization.getcell("CORR_TYPE", int(number)), _PARALLEL)
            for number in identifiers
        ]
