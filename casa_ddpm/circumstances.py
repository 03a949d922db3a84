"""What there is about the sources of a field that tells how far to trust what is said of them."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

#: Kinds of sources whose errors are calibrated by themselves. Those that are wider than MARGINAL
#: [beam] in most realisations may be points for all that. What is resolved may be several sources
#: where others are near.
KINDS = ("point", "marginal", "resolved", "confused")
MARGINAL = 0.2
#: Least and greatest distance of another source at which it matters how far off it is [beam].
_NEAREST, _FARTHEST = 0.9, 4.0
#: Least flux of such others, and realisations that hold them, as a share of the source's own.
_OTHERS, _HELD = 0.1, 0.5
#: Share of resolved sources from which on a field is structured as much as fields are.
_STRUCTURED = 0.3


def columns(sources, beam: float, cell: float) -> dict[str, np.ndarray]:
    """All that is known of a table of sources, for `calibration`.

    Parameters
    ----------
    sources : QTable
        As `sources.find_sources` returns it.
    beam : float
        FWHM of the clean beam [arcsec].
    cell : float
        Side of the table's pixels [arcsec].

    Returns
    -------
    dict of ndarray, shape (n,)
        prob and snr of the table, structure, crowding and kind.
    """
    prob, snr = (np.asarray(sources[name], float) for name in ("prob", "snr"))
    crowded = crowding(sources, beam, cell)
    return {
        "prob": prob,
        "snr": snr,
        "structure": np.full(len(prob), structure(sources)),
        "crowding": crowded,
        "kind": kinds(sources, beam, crowded),
    }


def kinds(sources, beam: float, crowded: np.ndarray) -> np.ndarray:
    """Which of KINDS each row of a table of sources is of, int, shape (n,).

    Parameters
    ----------
    sources : QTable
        With major and resolved.
    beam : float
        FWHM of the clean beam [arcsec].
    crowded : ndarray, shape (n,)
        See `crowding`.
    """
    resolved = np.asarray(sources["resolved"])
    wide = sources["major"].value > MARGINAL * beam
    found = {"confused": resolved & (crowded > 0), "resolved": resolved, "marginal": wide}
    return np.select([*found.values()], [*map(KINDS.index, found)], KINDS.index("point"))


def crowding(sources, beam: float, cell: float) -> np.ndarray:
    """How near others are whose light may be a source's own, shape (n,).

    Parameters
    ----------
    sources : QTable
        With x, y, flux and count.
    beam : float
        FWHM of the clean beam [arcsec].
    cell : float
        Side of the table's pixels [arcsec].

    Returns
    -------
    ndarray, shape (n,)
        Beam over the distance of the nearest, less what that is 4 beams off; 0 beyond.
    """
    flux, held = np.asarray(sources["flux"].value, float), np.asarray(sources["count"])
    places = np.stack([sources["x"].value, sources["y"].value], axis=1) * cell / beam
    pairs = KDTree(places).query_pairs(_FARTHEST, output_type="ndarray")
    one, other = np.concatenate([pairs, pairs[:, ::-1]]).T
    counts = (held[other] > _HELD * held[one]) & (flux[other] > _OTHERS * flux[one])
    away = np.linalg.norm(places[one] - places[other], axis=1)
    found = np.zeros(len(flux))
    np.maximum.at(found, one[counts], 1 / np.maximum(away[counts], _NEAREST) - 1 / _FARTHEST)
    return found


def structure(sources) -> float:
    """How much of what a field holds is resolved, from 0 to 1.

    Parameters
    ----------
    sources : QTable
        With prob, as the network gives it, and resolved.
    """
    prob, resolved = (np.asarray(sources[name], float) for name in ("prob", "resolved"))
    # One more point is supposed: a single doubtful source tells little.
    return min(1.0, float((prob * resolved).sum() / (prob.sum() + 1)) / _STRUCTURED)
