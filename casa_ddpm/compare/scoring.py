"""Lists of sources beside the true ones: the benchmark's figures of a single field."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table, vstack

from casa_ddpm import sky
from casa_ddpm.benchmark import detection, metrics
from casa_ddpm.benchmark.field import Field
from casa_ddpm.compare.crossmatch import offsets
from casa_ddpm.compare.source_list import FLUXES, places
from casa_ddpm.dirty import Beam, DirtyImage

#: What the protocol of such a field is called.
PROTOCOL = "truth"


def figures(
    lists: Mapping[str, QTable],
    truth: Mapping[str, np.ndarray],
    beam: Beam,
    noise: float,
    defaults: Mapping[str, float],
    residuals: Mapping[str, float] | None = None,
) -> dict[str, dict]:
    """Purity, completeness, F1, fluxes, positions, shapes and coverage of each list.

    Parameters
    ----------
    lists : mapping of QTable
        Name -> all of its sources, columns of `casa_ddpm.compare.source_list`; its score is
        prob (of equal ones the S/N), else the S/N, else flux over its error, else flux.
    truth : mapping
        As `casa_ddpm.benchmark.truth.read` gives it; at least one source.
    beam : Beam
        Clean beam; a match is within 0.6 of it and 0.3 of a true source's width.
    noise : float
        rms [Jy/beam], which limits of fluxes and positions are of.
    defaults : mapping
        Name -> threshold that its users lay on prob, if it has that, or else on its score.
    residuals : mapping, optional
        Name -> rms of its residual [Jy/beam].

    Returns
    -------
    dict
        name -> figure -> {value, low, high, n}, as `casa_ddpm.benchmark.metrics.figures`.
        Of one field there are no intervals.
    """
    origin = SkyCoord(truth["ra"][0], truth["dec"][0], unit="deg", frame="icrs")
    field = _field(truth, origin, beam, noise)
    found, images = [], []
    for name, listed in lists.items():
        found.append(_detections(field, name, listed, origin))
        rms = (residuals or {}).get(name, np.nan) / noise
        images.append({"protocol": PROTOCOL, "field": 0, "method": name, "residual_rms": rms})
    return metrics.figures(field.truth(), vstack(found), Table(images), 0, defaults, 0)[PROTOCOL]


def _field(truth: Mapping, origin: SkyCoord, beam: Beam, noise: float) -> Field:
    """The truth as a field whose pixel is an arcsecond; of its image only the beam matters."""
    east, north = offsets(origin, SkyCoord(truth["ra"], truth["dec"], unit="deg", frame="icrs"))
    position = np.stack([north, -east], axis=1) / beam.fwhm
    major, minor = truth["major"] / beam.fwhm, truth["minor"] / beam.fwhm
    components = sky.gaussians(
        position, truth["flux"] / noise, major, minor, np.radians(truth["pa"])
    )
    psf = np.array([[0.0, 0.0], [0.0, 1.0]])
    dirty = DirtyImage(np.zeros((2, 2)), psf, beam, 1.0)
    return Field(PROTOCOL, 0, dirty, components, noise=noise)


def _detections(field: Field, name: str, listed: QTable, origin: SkyCoord) -> Table:
    """A list as the benchmark's detections."""
    east, north = offsets(origin, places(listed))
    beam = field.dirty.beam.fwhm
    columns = {key: listed[key].to_value(u.Jy) / field.noise for key in FLUXES}
    columns |= {key: listed[key].to_value(u.arcsec) / beam for key in ("major", "minor")}
    return field.detections(
        name,
        x=1 - east,
        y=1 + north,
        x_err=listed["ra_err"].to_value(u.arcsec),
        y_err=listed["dec_err"].to_value(u.arcsec),
        pa=listed["pa"].to_value(u.deg),
        prob=listed["prob"].value,
        score=score(listed),
        **columns,
    )


def score(listed: QTable) -> np.ndarray:
    """What a threshold is laid on: the surest measure that a list has."""
    prob, snr = listed["prob"].value, listed["snr"].value
    if np.isfinite(prob).all():
        return detection.certainty(prob, np.nan_to_num(snr))
    if np.isfinite(snr).all():
        return snr
    flux, error = (listed[name].to_value(u.Jy) for name in ("flux", "flux_err"))
    with np.errstate(divide="ignore", invalid="ignore"):
        over = flux / error
    return over if np.isfinite(over).all() else flux
