"""How a sky is reconstructed."""

from __future__ import annotations

from dataclasses import dataclass, field

from casa_ddpm import aggregation
from casa_ddpm.posterior import Sampling


@dataclass(frozen=True)
class Options:
    """How a sky is reconstructed.

    Parameters
    ----------
    network : str
        A shipped network or the path of a checkpoint.
    aggregate : {'median', 'mean', 'medoid'}
    conditioning : {'auto', 'restored', 'dirty', 'uv'}
        'auto': what the network was trained for.
    nmajor : int
        Most passes of network and major cycle.
    threshold : float
        Stop once the residual's peak is below [Jy/beam].
    nsigma : float
        Stop once the residual's peak is below this many times its noise; at
        least the peak that noise alone would have.
    minflux : float
        Least flux at which a realisation holds a source [noise].
    sampling : Sampling
    samples : bool
        Keep the realisations in the result; those of a cube take much memory.

    Raises
    ------
    ValueError
        If a value breaks these rules.
    """

    network: str = "default"
    aggregate: str = "median"
    conditioning: str = "auto"
    nmajor: int = 2
    threshold: float = 0.0
    nsigma: float = 0.0
    minflux: float = 1.0
    sampling: Sampling = field(default_factory=Sampling)
    samples: bool = True

    def __post_init__(self) -> None:
        if self.aggregate not in aggregation.AGGREGATES:
            known = list(aggregation.AGGREGATES)
            raise ValueError(f"aggregate must be one of {known}, got {self.aggregate!r}")
        if self.nmajor < 1:
            raise ValueError(f"nmajor must be at least 1, got {self.nmajor}")
        if not self.minflux > 0:
            raise ValueError(f"minflux must be positive, got {self.minflux}")
        for name in ("threshold", "nsigma"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
