"""Recalibration: what a network's probabilities and errors have to be corrected by.

A network learns its posterior from a finite training, and says of some things that it is
less sure, or surer, than it should be. On simulated fields of held-out seeds that shows,
and what has been fitted there travels in its checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from casa_ddpm import odds
from casa_ddpm.odds import Odds
from casa_ddpm.pairs import greatest

#: Edges of the S/N bins in which errors are compared with what they claim to be.
EDGES = (0, 6, 15, 50, np.inf)
#: Fewest sources of a bin; smaller ones join the next.
FEWEST = 25
#: Kinds of sources whose errors are calibrated by themselves. Those that are wider than MARGINAL
#: [beam] in most realisations may be points for all that. A point is close where others are
#: within CLOSE [beam], whose light may be its own; what is resolved may be several there.
KINDS = ("point", "close", "marginal", "resolved", "confused")
MARGINAL, CLOSE = 0.2, 4.0
#: Least flux of such others, and realisations that hold them, as a share of the source's own.
_OTHERS, _HELD = 0.1, 0.5
#: Columns of candidates, see `fit`.
Candidates = Mapping[str, np.ndarray]
#: Disturbance from which on a field's errors are fitted as those of a disturbed one.
_MUCH = 0.5
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
class Kind:
    """Factors of a kind of sources.

    Parameters
    ----------
    quiet, disturbed, blind : Errors
        Where only noise is left, where much more is, and where that is not known; as of `Odds`.
    """

    quiet: Errors
    disturbed: Errors
    blind: Errors

    def flux_factor(self, snr: np.ndarray, disturbance: np.ndarray | float) -> np.ndarray:
        """What errors of fluxes are to be multiplied with, at each S/N."""
        factors = np.log([errors.flux_factor(snr) for errors in self._states])
        return np.exp(odds.between(disturbance, *factors))

    def position_factor(self, snr: np.ndarray, disturbance: np.ndarray | float) -> np.ndarray:
        """What errors of positions are to be multiplied with, at each S/N."""
        factors = np.log([errors.position_factor(snr) for errors in self._states])
        return np.exp(odds.between(disturbance, *factors))

    @property
    def _states(self) -> tuple[Errors, Errors, Errors]:
        return self.quiet, self.disturbed, self.blind


@dataclass(frozen=True)
class Calibration:
    """The corrections of a network.

    Parameters
    ----------
    odds : Odds
        Of all candidates.
    point, close, marginal, resolved, confused : Kind
        Of each of KINDS.
    """

    odds: Odds
    point: Kind
    close: Kind
    marginal: Kind
    resolved: Kind
    confused: Kind

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
        needed = {kind: {"quiet", "disturbed", "blind"} for kind in ("odds", *KINDS)}
        if missing := [name for name in needed if set(stored.get(name, ())) != needed[name]]:
            lacks = ", ".join(missing)
            raise ValueError(f"network must be calibrated anew: its calibration lacks {lacks}")
        kinds = ({name: Errors(**stored[kind][name]) for name in needed[kind]} for kind in KINDS)
        return cls(Odds(**stored["odds"]), *(Kind(**kind) for kind in kinds))

    def stored(self) -> dict[str, dict]:
        """As a checkpoint stores it: plain values."""
        return json.loads(json.dumps(asdict(self)))

    def apply(self, sources, beam: float, cell: float, disturbance: float):
        """A table of sources with recalibrated probability and errors.

        Parameters
        ----------
        sources : QTable
            As `sources.find_sources` returns it.
        beam : float
            FWHM of the clean beam [arcsec].
        cell : float
            Side of the table's pixels [arcsec].
        disturbance : float
            See `odds.disturbance`.

        Returns
        -------
        QTable
        """
        table = sources.copy()
        prob, snr = (np.asarray(table[name], float) for name in ("prob", "snr"))
        kind = kinds(table, beam, cell)

        def each(value) -> np.ndarray:
            return np.choose(kind, [value(getattr(self, name)) for name in KINDS])

        table["prob"] = self.odds.probability(prob, shadows(table, beam / cell), snr, disturbance)
        flux = each(lambda errors: errors.flux_factor(snr, disturbance))
        position = each(lambda errors: errors.position_factor(snr, disturbance))
        table["flux_lo"] = table["flux"] - flux * (table["flux"] - table["flux_lo"])
        table["flux_hi"] = table["flux"] + flux * (table["flux_hi"] - table["flux"])
        table["flux_err"] = flux * table["flux_err"]
        for name in ("ra_err", "dec_err"):
            table[name] = position * table[name]
        return table


def kinds(sources, beam: float, cell: float) -> np.ndarray:
    """Which of KINDS each row of a table of sources is of, int, shape (n,).

    Parameters
    ----------
    sources : QTable
        With x, y, flux, count, major and resolved.
    beam : float
        FWHM of the clean beam [arcsec].
    cell : float
        Side of the table's pixels [arcsec].
    """
    resolved, wide = np.asarray(sources["resolved"]), sources["major"].value > MARGINAL * beam
    flux, held = np.asarray(sources["flux"].value, float), np.asarray(sources["count"])
    places = np.stack([sources["x"].value, sources["y"].value], axis=1)
    pairs = KDTree(places).query_pairs(CLOSE * beam / cell, output_type="ndarray")
    one, other = np.concatenate([pairs, pairs[:, ::-1]]).T
    counts = (held[other] > _HELD * held[one]) & (flux[other] > _OTHERS * flux[one])
    close = np.isin(np.arange(len(flux)), one[counts])
    found = {"confused": resolved & close, "resolved": resolved, "marginal": wide, "close": close}
    return np.select([*found.values()], [*map(KINDS.index, found)], KINDS.index("point"))


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

    def shadow(rows: np.ndarray) -> np.ndarray:
        away = ((x[rows] - x) ** 2 + (y[rows] - y) ** 2) / beam**2
        return flux / np.maximum(flux[rows], 1e-12) / (1 + away)

    return greatest(len(flux), shadow)


def fit(candidates: Candidates) -> Calibration:
    """Fit a calibration to candidates of which the truth is known.

    A kind of which there are too few, whatever the disturbance, has the errors of all; one of which
    there are too few with that disturbance has those of the kind.

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
    parts = (_kind(_enough(part, candidates)) for part in _kinds(candidates).values())
    return Calibration(odds.fit(*(candidates[name] for name in names)), *parts)


def _known(candidates: Candidates) -> np.ndarray:
    """Which candidates have a true flux to compare with."""
    return np.isfinite(candidates["flux"])


def _kinds(candidates: Candidates) -> dict[str, Candidates]:
    """The candidates of each of KINDS."""
    return {
        kind: {name: values[candidates["kind"] == k] for name, values in candidates.items()}
        for k, kind in enumerate(KINDS)
    }


def _enough(part: Candidates, whole: Candidates) -> Candidates:
    """A part of the candidates if it has enough sources, else the whole."""
    return part if _known(part).sum() >= FEWEST else whole


def _kind(candidates: Candidates) -> Kind:
    """Factors of a kind of sources, with much of a disturbance and with little."""
    much = candidates["disturbance"] > _MUCH
    quiet, disturbed = (
        {name: values[chosen] for name, values in candidates.items()} for chosen in (~much, much)
    )
    parts = (_enough(quiet, candidates), _enough(disturbed, candidates), candidates)
    return Kind(*(_errors(part) for part in parts))


def _errors(candidates: Candidates) -> Errors:
    known = _known(candidates)
    snr, flux, position = [], [], []
    for part in _bins(candidates["snr"][known]):
        snr.append(float(np.median(candidates["snr"][known][part])))
        flux.append(_spread(candidates["flux"][known][part]))
        position.append(_spread(candidates["position"][known][part]))
    return Errors(tuple(snr), tuple(flux), tuple(position))


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


def _spread(errors: np.ndarray) -> float:
    """Within how many of the claimed errors 68 % of them lie."""
    return float(np.quantile(np.abs(errors), ONE_SIGMA))
