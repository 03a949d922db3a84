"""Recalibration: what a network's probabilities and errors have to be corrected by.

A network learns its posterior from a finite training, and says of some things that it is
less sure, or surer, than it should be. On simulated fields of held-out seeds that shows,
and what has been fitted there travels in its checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from casa_ddpm import odds
from casa_ddpm.odds import Odds

#: Edges of the S/N bins in which errors are compared with what they claim to be.
EDGES = (0, 4, 5, 7, 10, 20, 50, np.inf)
#: Fewest sources of a bin; smaller ones join the next.
FEWEST = 25
#: Kinds of sources whose errors are calibrated by themselves.
KINDS = ("compact", "resolved", "confused")
#: Share that a 68 % interval has to hold.
ONE_SIGMA = 0.6827


@dataclass(frozen=True)
class Errors:
    """Factors of errors.

    Parameters
    ----------
    snr : tuple of float
        S/N at which the factors are known; between them they are interpolated in its
        logarithm.
    flux, position : tuple of float
        Factors of the errors there.

    Raises
    ------
    ValueError
        If lengths differ, or a factor is not positive.
    """

    snr: tuple[float, ...]
    flux: tuple[float, ...]
    position: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("snr", "flux", "position"):
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        if not len(self.snr) == len(self.flux) == len(self.position) > 0:
            raise ValueError(
                "snr, flux and position must be of one length, got "
                f"{len(self.snr)}, {len(self.flux)} and {len(self.position)}"
            )
        for name in ("snr", "flux", "position"):
            if not min(getattr(self, name)) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if list(self.snr) != sorted(self.snr):
            raise ValueError(f"snr must rise, got {self.snr}")

    def flux_factor(self, snr: np.ndarray) -> np.ndarray:
        """What errors of fluxes are to be multiplied with, at each S/N."""
        return self._at(snr, self.flux)

    def position_factor(self, snr: np.ndarray) -> np.ndarray:
        """What errors of positions are to be multiplied with, at each S/N."""
        return self._at(snr, self.position)

    def _at(self, snr: np.ndarray, factors: tuple[float, ...]) -> np.ndarray:
        return np.interp(np.log(np.maximum(snr, 1e-3)), np.log(self.snr), factors)


@dataclass(frozen=True)
class Calibration:
    """The corrections of a network.

    Parameters
    ----------
    odds : Odds
        Of all candidates.
    compact, resolved, confused : Errors
        Of sources that are not told from a point, of those that are, and of those that are
        blended with others as well.
    """

    odds: Odds
    compact: Errors
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
        if missing := {"odds", *KINDS} - set(stored):
            lacks = ", ".join(sorted(missing))
            raise ValueError(f"network must be calibrated anew: its calibration lacks {lacks}")
        return cls(Odds(**stored["odds"]), *(Errors(**stored[kind]) for kind in KINDS))

    def stored(self) -> dict[str, dict[str, list[float]]]:
        """As a checkpoint stores it."""
        return {
            part: {name: list(values) for name, values in correction.items()}
            for part, correction in asdict(self).items()
        }

    def apply(self, sources, beam: float, disturbance: float):
        """A table of sources with recalibrated probability and errors.

        Parameters
        ----------
        sources : QTable
            As `sources.find_sources` returns it.
        beam : float
            FWHM of the clean beam, in the pixels of the table.
        disturbance : float
            See `odds.disturbance`.

        Returns
        -------
        QTable
        """
        table = sources.copy()
        prob, snr = (np.asarray(table[name], float) for name in ("prob", "snr"))
        kind = kinds(table)

        def each(value) -> np.ndarray:
            return np.choose(kind, [value(getattr(self, name)) for name in KINDS])

        table["prob"] = self.odds.probability(prob, shadows(table, beam), snr, disturbance)
        flux = each(lambda errors: errors.flux_factor(snr))
        table["flux_lo"] = table["flux"] - flux * (table["flux"] - table["flux_lo"])
        table["flux_hi"] = table["flux"] + flux * (table["flux_hi"] - table["flux"])
        table["flux_err"] = flux * table["flux_err"]
        for name in ("ra_err", "dec_err"):
            table[name] = each(lambda errors: errors.position_factor(snr)) * table[name]
        return table


def kinds(sources) -> np.ndarray:
    """Which of KINDS each row of a table of sources is of, int, shape (n,)."""
    resolved, blended = (np.asarray(sources[name], bool) for name in ("resolved", "blended"))
    return resolved * (1 + blended)


def shadows(sources, beam: float) -> np.ndarray:
    """How much brighter than each source another one is beside it.

    What is left of a bright source, or a piece of it, passes for a faint one.

    Parameters
    ----------
    sources : QTable
        With x, y and flux.
    beam : float
        FWHM of the clean beam [pixel].

    Returns
    -------
    ndarray, shape (n,)
        Greatest ratio of another's flux to its own, over 1 + (distance / beam)^2.
    """
    x, y, flux = (np.asarray(sources[name].value, float) for name in ("x", "y", "flux"))
    if len(x) < 2:
        return np.zeros(len(x))
    away = ((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2) / beam**2
    ratio = flux / np.maximum(flux[:, None], 1e-12) / (1 + away)
    np.fill_diagonal(ratio, 0)
    return ratio.max(1)


def fit(candidates: Mapping[str, np.ndarray]) -> Calibration:
    """Fit a calibration to candidates of which the truth is known.

    A kind of which there are too few has the errors of all.

    Parameters
    ----------
    candidates : mapping of arrays, shape (n,)
        prob, shadow, snr, disturbance : as for `Odds.probability`.
        true : whether it is a source.
        flux : distance of the true flux from the measured one, over the error on that
        side; NaN where the source has no true flux to compare with.
        position : both coordinates' distances over their errors, shape (n, 2); NaN likewise.
        kind : see `kinds`.

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
    names = ("prob", "shadow", "snr", "disturbance", "true")
    parts = [
        _errors(part if _known(part).sum() >= FEWEST else candidates)
        for part in _kinds(candidates).values()
    ]
    return Calibration(odds.fit(*(candidates[name] for name in names)), *parts)


def _known(candidates: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which candidates have a true flux to compare with."""
    return np.isfinite(candidates["flux"])


def _kinds(candidates: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """The candidates of each of KINDS."""
    return {
        kind: {name: values[candidates["kind"] == k] for name, values in candidates.items()}
        for k, kind in enumerate(KINDS)
    }


def _errors(candidates: Mapping[str, np.ndarray]) -> Errors:
    known = _known(candidates)
    snr, flux, position = [], [], []
    for part in _bins(candidates["snr"][known]):
        snr.append(float(np.median(candidates["snr"][known][part])))
        flux.append(_spread(candidates["flux"][known][part]))
        position.append(_spread(candidates["position"][known][part]))
    return Errors(tuple(snr), tuple(flux), tuple(position))


def check(candidates: Mapping[str, np.ndarray]) -> dict[str, list[dict[str, float]]]:
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


def _coverage(candidates: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
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


def _spread(errors: np.ndarray) -> float:
    """Within how many of the claimed errors 68 % of them lie."""
    return float(np.quantile(np.abs(errors), ONE_SIGMA))
