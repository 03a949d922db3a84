"""Tables of a made-up benchmark, drawn from known laws."""

from __future__ import annotations

import numpy as np
from astropy.table import Table, vstack

METHODS = ("ddpmclean", "peaks", "tclean + PyBDSF")
#: Clean beam [pixel].
BEAM = 4.25


def truth_of(field, rng, n=6, protocol="independent"):
    """Sources of one field: points and Gaussians of S/N 2 to 60."""
    snr = np.exp(rng.uniform(np.log(2), np.log(60), n))
    major = np.where(rng.random(n) < 0.4, rng.uniform(0.3, 1.6, n), 0)
    minor = major * rng.uniform(0.5, 1, n)
    flux = snr * np.sqrt((1 + major**2) * (1 + minor**2))
    x, y = rng.uniform(5, 120, (2, n))
    keys = {"protocol": [protocol] * n, "field": [field] * n}
    columns = {"x": x, "y": y, "flux": flux, "snr": snr, "major": major, "minor": minor}
    rest = {"pa": rng.uniform(0, 180, n), "beam": [BEAM] * n, "compact": [True] * n}
    return Table(keys | columns | rest)


def found_of(truth, method, worse, rng):
    """What a method finds that is `worse` times as noisy as the limit, and six false peaks."""
    snr = np.asarray(truth["snr"])
    value = snr + worse * rng.normal(size=len(snr))
    rows = np.flatnonzero(value > 3)
    n, false = len(rows), 6
    part = truth[rows]
    limit = np.where(part["major"] > 0, np.sqrt(3) * part["flux"] / part["snr"], 1) * worse
    away = 0.425 * BEAM / part["snr"] * worse
    nan = np.full(false, np.nan)
    height = 3 + rng.exponential(0.25, false)
    score = np.append(value[rows], height)
    columns = {"protocol": [truth["protocol"][0]] * (n + false)}
    columns |= {"field": [truth["field"][0]] * (n + false), "method": [method] * (n + false)}
    columns |= {
        axis: np.append(part[axis] + away * rng.normal(size=n), rng.uniform(5, 120, false))
        for axis in "xy"
    }
    columns |= {f"{axis}_err": np.append(away, nan) for axis in "xy"}
    columns |= {"score": score, "match": np.append(rows, np.full(false, -1))}
    columns["flux"] = np.append(part["flux"] + limit * rng.normal(size=n), height)
    columns["flux_err"] = np.append(limit, np.ones(false)) if method != "peaks" else score * np.nan
    columns |= {name: np.append(part[name], nan) for name in ("major", "minor", "pa")}
    if method == "ddpmclean":
        columns["prob"] = 1 / (1 + np.exp(-3 * (score - 4.2)))
    return Table(columns)


def benchmark(nfields=40, seed=0, methods=METHODS, protocol="independent"):
    """Truth, detections and images; each method is a quarter noisier than the one before."""
    truth, found, images = [], [], []
    for field in range(nfields):
        rng = np.random.default_rng([seed, field])
        truth.append(truth_of(field, rng, protocol=protocol))
        for k, method in enumerate(methods):
            found.append(found_of(truth[-1], method, 1 + 0.25 * k, rng))
            row = {"protocol": [protocol], "field": [field], "method": [method]}
            row |= {"residual_rms": [1 + 0.1 * k + 0.02 * rng.normal()]}
            images.append(Table(row | {"seconds": [rng.uniform(1, 9)]}))
    return vstack(truth), vstack(found), vstack(images)
