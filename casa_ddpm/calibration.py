"""Recalibration: what a network's probabilities and errors have to be multiplied with.

A network learns its posterior from a finite training, and says of some things that it is
less sure, or surer, than it should be. On simulated fields of held-out seeds that shows,
and what has been fitted there travels in its checkpoint: for single points, which are drawn
from a posterior in closed form, and for what is mixed with others or extended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize, special

#: Edges of the S/N bins in which errors are compared with what they claim to be.
EDGES = (0, 4, 5, 7, 10, 20, 50, np.inf)
#: Fewest sources of a bin; smaller ones join the next.
FEWEST = 40
#: Least probability, and least of the opposite, that is told apart.
DOUBT = 0.0005
#: Kinds of sources that are calibrated by themselves.
KINDS = ("single", "mixed")
#: Share that a 68 % interval has to hold.
ONE_SIGMA = 0.6827


@dataclass(frozen=True)
class Correction:
    """Factors of errors, and what a share of realisations means as a probability.

    Parameters
    ----------
    prob : tuple of four floats
        Offset and weights of the log-odds of the network's probability, of -log(1 + shadow)
        and of log(S/N) in the log-odds that a candidate is a source. The weights are not
        negative, so that more never means less.
    snr : tuple of float
        S/N at which the factors are known; between them they are interpolated in its
        logarithm.
    flux, position : tuple of float
        Factors of the errors there.

    Raises
    ------
    ValueError
        If lengths differ, a weight is negative, or a factor is not positive.
    """

    prob: tuple[float, ...]
    snr: tuple[float, ...]
    flux: tuple[float, ...]
    position: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("prob", "snr", "flux", "position"):
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        if not len(self.snr) == len(self.flux) == len(self.position) > 0:
            raise ValueError(
                "snr, flux and position must be of one length, got "
                f"{len(self.snr)}, {len(self.flux)} and {len(self.position)}"
            )
        if len(self.prob) != 4 or min(self.prob[1:]) < 0:
            raise ValueError(f"prob must be an offset and three weights from 0, got {self.prob}")
        for name in ("snr", "flux", "position"):
            if not min(getattr(self, name)) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if list(self.snr) != sorted(self.snr):
            raise ValueError(f"snr must rise, got {self.snr}")

    def probability(self, prob: np.ndarray, shadow: np.ndarray, snr: np.ndarray) -> np.ndarray:
        """Probability that a candidate is a source.

        Parameters
        ----------
        prob : ndarray
            What the network says it is.
        shadow : ndarray
            See `shadows`.
        snr : ndarray
            S/N of its peak.
        """
        return special.expit(_features(prob, shadow, snr) @ np.array(self.prob))

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
    single : Correction
        Of points that touch no other source.
    mixed : Correction
        Of blended and of extended sources.
    """

    single: Correction
    mixed: Correction

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Calibration | None:
        """What a checkpoint has stored; None where that is nothing."""
        return cls(**{kind: Correction(**stored[kind]) for kind in KINDS}) if stored else None

    def stored(self) -> dict[str, dict[str, list[float]]]:
        """As a checkpoint stores it."""
        return {
            kind: {name: list(values) for name, values in correction.items()}
            for kind, correction in asdict(self).items()
        }

    def apply(self, sources, beam: float):
        """A table of sources with recalibrated probability and errors.

        Parameters
        ----------
        sources : QTable
            As `sources.find_sources` returns it.
        beam : float
            FWHM of the clean beam, in the pixels of the table.

        Returns
        -------
        QTable
        """
        table = sources.copy()
        prob, snr = (np.asarray(table[name], float) for name in ("prob", "snr"))
        shadow = shadows(table, beam)
        mixed = is_mixed(table)

        def each(value) -> np.ndarray:
            return np.where(mixed, value(self.mixed), value(self.single))

        table["prob"] = each(lambda c: c.probability(prob, shadow, snr))
        flux = each(lambda c: c.flux_factor(snr))
        table["flux_lo"] = table["flux"] - flux * (table["flux"] - table["flux_lo"])
        table["flux_hi"] = table["flux"] + flux * (table["flux_hi"] - table["flux"])
        table["flux_err"] = flux * table["flux_err"]
        for name in ("ra_err", "dec_err"):
            table[name] = each(lambda c: c.position_factor(snr)) * table[name]
        return table


def is_mixed(sources) -> np.ndarray:
    """Which rows of a table of sources are blended or extended: bool, shape (n,)."""
    return np.asarray(sources["blended"], bool) | np.asarray(sources["resolved"], bool)


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

    A kind of which there are too few has the correction of all.

    Parameters
    ----------
    candidates : mapping of arrays, shape (n,)
        prob, shadow, snr : as for `Correction.probability`.
        true : whether it is a source.
        flux : distance of the true flux from the measured one, over the error on that
        side; NaN where the source has no true flux to compare with.
        position : both coordinates' distances over their errors, shape (n, 2); NaN likewise.
        mixed : whether it is blended or extended.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If there are too few sources to fit to.
    """
    whole = _correction(candidates)
    found = {
        kind: _correction(part) if _enough(part) else whole
        for kind, part in _kinds(candidates).items()
    }
    # Some fields that nothing explains wholly hold most of the mixed candidates that are none.
    # Beside all others they count for what they are.
    return Calibration(found["single"], replace(found["mixed"], prob=whole.prob))


def _kinds(candidates: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """The candidates of each of KINDS."""
    parts = zip(KINDS, (~candidates["mixed"], candidates["mixed"]), strict=True)
    return {
        kind: {name: values[part] for name, values in candidates.items()} for kind, part in parts
    }


def _enough(candidates: Mapping[str, np.ndarray]) -> bool:
    """Whether these are sources enough for a correction of their own."""
    known = np.isfinite(candidates["flux"]).sum()
    return bool(known >= FEWEST and not candidates["true"].all())


def _correction(candidates: Mapping[str, np.ndarray]) -> Correction:
    known = np.isfinite(candidates["flux"])
    if not _enough(candidates):
        raise ValueError(
            f"calibration must have at least {FEWEST} sources, and candidates that are none,"
            f" got {int(known.sum())} and {int((~candidates['true']).sum())}"
        )
    snr, flux, position = [], [], []
    for part in _bins(candidates["snr"][known]):
        snr.append(float(np.median(candidates["snr"][known][part])))
        flux.append(_spread(candidates["flux"][known][part]))
        position.append(_spread(candidates["position"][known][part]))
    features = _features(*(candidates[name] for name in ("prob", "shadow", "snr")))
    prob = _logistic(features, candidates["true"])
    return Correction(prob, tuple(snr), tuple(flux), tuple(position))


def check(candidates: Mapping[str, np.ndarray]) -> dict[str, dict[str, list[dict[str, float]]]]:
    """How well calibrated candidates keep their word, for each kind.

    Parameters
    ----------
    candidates : mapping of arrays
        As for `fit`, of a calibrated network.

    Returns
    -------
    dict
        For single and for mixed ones; prob: for each tenth of the probability the
        candidates, their mean probability and the fraction that are sources. errors: for
        each bin of S/N the sources, the shares of fluxes and of positions within their
        68 % intervals, and of fluxes within twice that.
    """
    return {kind: _checked(part) for kind, part in _kinds(candidates).items()}


def _checked(candidates: Mapping[str, np.ndarray]) -> dict[str, list[dict[str, float]]]:
    claimed, true = candidates["prob"], candidates["true"]
    prob = [
        {
            "candidates": int(part.sum()),
            "prob": float(claimed[part].mean()),
            "true": float(fraction),
        }
        for low in np.arange(10) / 10
        if (part := (claimed > low) & (claimed <= low + 0.1)).any()
        for fraction in [true[part].mean()]
    ]
    known = np.isfinite(candidates["flux"])
    snr, flux, position = (candidates[name][known] for name in ("snr", "flux", "position"))
    errors = [
        {
            "snr": float(np.median(snr[part])),
            "sources": len(part),
            "flux": float(np.mean(np.abs(flux[part]) < 1)),
            "flux, twice": float(np.mean(np.abs(flux[part]) < 2)),
            "position": float(np.mean(np.abs(position[part]) < 1)),
        }
        for part in (_bins(snr) if known.any() else [])
    ]
    return {"prob": prob, "errors": errors}


def _features(prob: np.ndarray, shadow: np.ndarray, snr: np.ndarray) -> np.ndarray:
    # No network is surer than it can have learned.
    odds = special.logit(np.clip(prob, DOUBT, 1 - DOUBT))
    bright = np.log(np.maximum(snr, 0.5))
    return np.stack([np.ones_like(odds), odds, -np.log1p(shadow), bright], -1)


def _logistic(features: np.ndarray, true: np.ndarray) -> tuple[float, ...]:
    """Weights of a logistic regression, none but the offset's below 0."""
    sign = np.where(true, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (features @ weights)
        gradient = -(features * (sign * special.expit(-margin))[:, None]).sum(0)
        return float(np.logaddexp(0, -margin).sum()), gradient

    bounds = [(None, None)] + 3 * [(0, None)]
    found = optimize.minimize(loss, np.zeros(4), jac=True, bounds=bounds, method="L-BFGS-B").x
    return tuple(float(weight) for weight in found)


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
