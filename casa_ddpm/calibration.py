"""Recalibration: what a network's probabilities and errors have to be corrected by.

A network learns its posterior from a finite training, and says of some things that it is
less sure, or surer, than it should be. On simulated fields of held-out seeds that shows,
and what has been fitted there travels in its checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from casa_ddpm import circumstances, disturbance, factors, odds
from casa_ddpm.circumstances import KINDS
from casa_ddpm.disturbance import Signs, Suspicion
from casa_ddpm.factors import Errors
from casa_ddpm.odds import Odds

#: Edges of the S/N bins in which errors are compared with what they claim to be.
EDGES = (0, 6, 15, 50, np.inf)
#: Fewest sources of a bin; smaller ones join the next. Of fewer no factors are fitted.
FEWEST = 25
#: Columns of candidates, see `fit`.
Candidates = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Calibration:
    """The corrections of a network.

    Parameters
    ----------
    suspicion : Suspicion
        How disturbed an image is whose thermal noise is not known.
    odds, blind : Odds
        Of all candidates, where it is known how disturbed the image is and where it is suspected.
    point, marginal, resolved, confused : Errors
        Of each of KINDS.
    """

    suspicion: Suspicion
    odds: Odds
    blind: Odds
    point: Errors
    marginal: Errors
    resolved: Errors
    confused: Errors

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Calibration | None:
        """What a checkpoint has stored; None where that is nothing.

        Raises
        ------
        ValueError
            If it is of another version.
        """
        if not stored:
            return None
        if missing := [part.name for part in fields(cls) if part.name not in stored]:
            lacks = ", ".join(missing)
            raise ValueError(f"network must be calibrated anew: its calibration lacks {lacks}")
        try:
            return cls(
                Suspicion(**stored["suspicion"]),
                Odds(**stored["odds"]),
                Odds(**stored["blind"]),
                *(Errors.of(stored[kind]) for kind in KINDS),
            )
        except TypeError as error:
            raise ValueError(f"network must be calibrated anew: {error}") from error

    def stored(self) -> dict[str, dict]:
        """As a checkpoint stores it: plain values."""
        return json.loads(json.dumps(asdict(self)))

    def apply(self, sources, beam: float, cell: float, signs: Signs):
        """A table of sources with recalibrated probability and errors.

        Parameters
        ----------
        sources : QTable
            As `sources.find_sources` returns it.
        beam : float
            FWHM of the clean beam [arcsec].
        cell : float
            Side of the table's pixels [arcsec].
        signs : Signs
            Of the image.

        Returns
        -------
        QTable
        """
        table = sources.copy()
        known = circumstances.columns(table, beam, cell)
        disturbed = np.full(len(table), self.suspicion.disturbance(signs))
        candidates = self.odds if signs.is_known else self.blind
        table["prob"] = candidates.probability(*_of_odds(known), disturbed)
        features = _features(known | {"disturbance": disturbed})
        flux, position = self.multipliers(known["kind"], features)
        table["flux_lo"] = table["flux"] - flux * (table["flux"] - table["flux_lo"])
        table["flux_hi"] = table["flux"] + flux * (table["flux_hi"] - table["flux"])
        table["flux_err"] = flux * table["flux_err"]
        for name in ("ra_err", "dec_err"):
            table[name] = position * table[name]
        return table

    def multipliers(self, kind: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What errors of fluxes and of positions are to be multiplied with, both of shape (n,).

        Parameters
        ----------
        kind : ndarray of int, shape (n,)
            See `circumstances.kinds`.
        features : ndarray, shape (n, 5)
            See `factors.features`.
        """
        errors = [getattr(self, name) for name in KINDS]
        flux, position = (
            np.choose(kind, [getattr(each, name).at(features) for each in errors])
            for name in ("flux", "position")
        )
        return flux, position


def fit(candidates: Candidates) -> Calibration:
    """Fit a calibration to candidates of which the truth is known.

    A kind of which there are too few has the errors of all.

    Parameters
    ----------
    candidates : mapping of arrays, shape (n,)
        prob, snr, structure : as for `Odds.probability`.
        crowding, kind : see `circumstances`.
        sidelobe, peak, disturbance : see `Signs`; of each candidate's image, and known.
        true : whether it is a source.
        flux : distance of the true flux from the measured one, over the error on that
        side; NaN where the source has no true flux to compare with.
        position : both coordinates' distances over their errors, shape (n, 2); NaN likewise.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If there are too few sources to fit to.
    """
    known, false = int(_known(candidates).sum()), int((~candidates["true"]).sum())
    if known < FEWEST or not false:
        raise ValueError(
            f"calibration must have at least {FEWEST} sources, and candidates that are none,"
            f" got {known} and {false}"
        )
    suspicion = _suspicion(candidates)
    suspected = suspicion.expected(candidates["sidelobe"], candidates["peak"])
    return Calibration(
        suspicion,
        _odds(candidates, candidates["disturbance"]),
        _odds(candidates, suspected),
        *(_errors(_enough(part, candidates)) for part in _kinds(candidates).values()),
    )


def _suspicion(candidates: Candidates) -> Suspicion:
    """That of candidates' images, which are those that have any.

    Those with high sidelobes, which always count as disturbed, make that of the rest right.
    """
    signs = np.stack([candidates[name] for name in ("sidelobe", "peak", "disturbance")], -1)
    # However many candidates an image has, it tells of itself once.
    sidelobe, peak, known = np.unique(signs, axis=0).T
    return disturbance.fit(sidelobe, peak, known)


def _odds(candidates: Candidates, disturbed: np.ndarray) -> Odds:
    """Those of candidates on images that are so disturbed."""
    return odds.fit(*_of_odds(candidates), disturbed, candidates["true"])


def _of_odds(candidates: Candidates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What odds are told of candidates, beside the disturbance."""
    return candidates["prob"], candidates["snr"], candidates["structure"]


def _features(candidates: Candidates) -> np.ndarray:
    """See `factors.features`."""
    names = ("snr", "crowding", "structure", "disturbance")
    return factors.features(*(candidates[name] for name in names))


def _known(candidates: Candidates) -> np.ndarray:
    """Which candidates have a true flux to compare with."""
    return np.isfinite(candidates["flux"])


def _kinds(candidates: Candidates) -> dict[str, Candidates]:
    """The candidates of each kind."""
    return {
        kind: {name: values[candidates["kind"] == k] for name, values in candidates.items()}
        for k, kind in enumerate(KINDS)
    }


def _enough(part: Candidates, whole: Candidates) -> Candidates:
    """A part of the candidates if it has enough sources, else the whole."""
    return part if _known(part).sum() >= FEWEST else whole


def _errors(candidates: Candidates) -> Errors:
    """Factors of what candidates claim."""
    known = _known(candidates)
    here = _features(candidates)[known]
    flux, position = candidates["flux"][known], candidates["position"][known]
    twice = np.repeat(here, 2, axis=0)
    return Errors(factors.fit(here, flux), factors.fit(twice, position.ravel()))


def check(candidates: Candidates) -> dict[str, list[dict[str, float]]]:
    """How well calibrated candidates keep their word, for each kind.

    Parameters
    ----------
    candidates : mapping of arrays
        As for `fit`, of a calibrated network.

    Returns
    -------
    dict
        prob: for each tenth of the probability the candidates, their mean probability and
        the fraction that are sources. For each of KINDS and bin of S/N the sources,
        the shares of fluxes and of positions within their 68 % intervals, and of fluxes
        within twice that.
    """
    errors = {kind: _coverage(part) for kind, part in _kinds(candidates).items()}
    return {"prob": _reliability(candidates["prob"], candidates["true"])} | errors


def _reliability(claimed: np.ndarray, true: np.ndarray) -> list[dict[str, float]]:
    return [
        {
            "candidates": int(part.sum()),
            "prob": float(claimed[part].mean()),
            "true": float(fraction),
        }
        for low in np.arange(10) / 10
        if (part := (claimed > low) & (claimed <= low + 0.1)).any()
        for fraction in [true[part].mean()]
    ]


def _coverage(candidates: Candidates) -> list[dict[str, float]]:
    known = _known(candidates)
    snr, flux, position = (candidates[name][known] for name in ("snr", "flux", "position"))
    return [
        {
            "snr": float(np.median(snr[part])),
            "sources": len(part),
            "flux": float(np.mean(np.abs(flux[part]) < 1)),
            "flux, twice": float(np.mean(np.abs(flux[part]) < 2)),
            "position": float(np.mean(np.abs(position[part]) < 1)),
        }
        for part in (_bins(snr) if known.any() else [])
    ]


def _bins(snr: np.ndarray) -> list[np.ndarray]:
    """Indices of the sources of each bin of S/N, none of fewer than FEWEST."""
    groups: list[np.ndarray] = []
    waiting = np.zeros(0, int)
    for low, high in zip(EDGES[:-1], EDGES[1:], strict=True):
        waiting = np.concatenate([waiting, np.flatnonzero((snr >= low) & (snr < high))])
        if len(waiting) >= FEWEST:
            groups.append(waiting)
            waiting = np.zeros(0, int)
    if not groups:
        return [waiting]
    groups[-1] = np.concatenate([groups[-1], waiting])
    return groups
