"""From dirty images to skies with error bars, on arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from casa_ddpm import checkpoint
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.options import Options
from casa_ddpm.passes import Passes, Reconstruction, passes
from casa_ddpm.scene import Scene
from casa_ddpm.simulator import MOST_ELONGATED
from casa_ddpm.spectral_index import add_spectral_indices
from casa_ddpm.taylor import Taylor
from casa_ddpm.wideband import Wideband

__all__ = [
    "Options",
    "Reconstruction",
    "load_network",
    "reconstruct",
    "reconstruct_band",
    "reconstruct_cube",
]

MajorCycle = Callable[[np.ndarray], np.ndarray]


def load_network(options: Options):
    """The options' network and its settings.

    Raises
    ------
    ValueError
        If there is no such network, it was not trained for the conditioning asked or it is
        one of the published protocol.
    """
    denoiser, settings = checkpoint.load(options.network)
    if settings.position:
        raise ValueError(
            f"network must work anywhere on an image, got {options.network!r}, which has learned "
            "the places and the noise of the published protocol"
        )
    if options.conditioning not in ("auto", settings.conditioning):
        raise ValueError(
            f"conditioning must be what network {options.network!r} was trained for, "
            f"{settings.conditioning!r}, or 'auto', got {options.conditioning!r}"
        )
    return denoiser, settings


def reconstruct(
    dirty: DirtyImage,
    options: Options | None = None,
    major_cycle: MajorCycle | None = None,
    start: np.ndarray | None = None,
    allowed: np.ndarray | None = None,
    log: Callable[[str], None] = lambda message: None,
    progress: Callable[[int], None] = lambda done: None,
) -> Reconstruction:
    """Draw the sky of a dirty image.

    Parameters
    ----------
    dirty : DirtyImage
    options : Options, optional
    major_cycle : callable, optional
        Gives the residual [Jy/beam] of a model [Jy/pixel] from the visibilities;
        without it the PSF stands in for them.
    start : ndarray, shape (ny, nx), optional
        Model [Jy/pixel] that has been subtracted from `dirty` already.
    allowed : ndarray of bool, shape (ny, nx), optional
        Where the model may change (a clean mask).
    log : callable
        Told a line about each step.
    progress : callable
        Told of finished realisations.

    Returns
    -------
    Reconstruction

    Raises
    ------
    ValueError
        If an option is wrong or the image is too coarse or without noise.
    """
    cycle = None if major_cycle is None else lambda models: major_cycle(models[0])[None]
    starts = None if start is None else np.asarray(start)[None]
    mask = None if allowed is None else lambda: np.asarray(allowed)[None]
    (found,) = reconstruct_cube([dirty], options, cycle, starts, mask, log, progress)
    assert found is not None
    return found


def reconstruct_band(
    dirty: DirtyImage,
    taylor: Taylor,
    residuals: np.ndarray,
    options: Options | None,
    major_cycle: MajorCycle,
    start: np.ndarray | None = None,
    mask: Callable[[], np.ndarray] | None = None,
    log: Callable[[str], None] = lambda message: None,
    progress: Callable[[int], None] = lambda done: None,
) -> Reconstruction:
    """Draw the sky of a wide band, and fit its spectra.

    Parameters
    ----------
    dirty : DirtyImage
        The band's mean.
    taylor : Taylor
    residuals : ndarray, shape (n, ny, nx)
        Images of the Taylor terms, `dirty` first, less a model to start from [Jy/beam].
    options : Options, optional
    major_cycle : callable
        Gives the residuals [Jy/beam] of models [Jy/pixel], Taylor terms both, shape (n, ny, nx).
        Its last model is that of the reconstruction.
    start : ndarray, shape (n, ny, nx), optional
        Model [Jy/pixel] that has been subtracted already.
    mask, log, progress : callable
        See `reconstruct_cube`.

    Returns
    -------
    Reconstruction
        Of the mean over the band, see `Taylor`. With more than one term its sources have the
        columns alpha and alpha_err, see `add_spectral_indices`.

    Raises
    ------
    ValueError
        If an option is wrong or the image is too coarse or without noise.
    """
    band = Wideband(taylor, dirty, major_cycle, residuals, start)
    (found,) = reconstruct_cube([dirty], options, band, band.start, mask, log, progress)
    assert found is not None
    found = band.finish(found)
    if len(taylor) == 1:
        return found
    return replace(found, sources=add_spectral_indices(found.sources, dirty, band))


def reconstruct_cube(
    planes: Sequence[DirtyImage | None],
    options: Options | None = None,
    major_cycle: MajorCycle | None = None,
    start: np.ndarray | None = None,
    mask: Callable[[], np.ndarray] | None = None,
    log: Callable[[str], None] = lambda message: None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Reconstruction | None]:
    """Draw the skies of a cube's channels, which share their major cycles.

    Parameters
    ----------
    planes : sequence of DirtyImage
        Of equal shape; None for a channel without data.
    options : Options, optional
    major_cycle : callable, optional
        Gives the residuals [Jy/beam] of models [Jy/pixel], both of shape
        (nplane, ny, nx); without it the PSFs stand in for the visibilities.
    start : ndarray, shape (nplane, ny, nx), optional
        Models [Jy/pixel] that have been subtracted from `planes` already.
    mask : callable, optional
        Gives the clean mask, shape (nplane, ny, nx): where a model may change.
        It is asked again after every major cycle.
    log, progress : callable
        See `reconstruct`.

    Returns
    -------
    list of Reconstruction
        None for a channel without data.

    Raises
    ------
    ValueError
        If an option is wrong or an image is too coarse or without noise; of several it is named.
    """
    options = options or Options()
    denoiser, settings = load_network(options)
    allowed = None if mask is None else mask()
    runs: dict[int, Passes] = {}
    scenes: dict[int, Scene] = {}
    for k, plane in enumerate(planes):
        if plane is None:
            continue
        before, where = (None if cube is None else cube[k] for cube in (start, allowed))
        name = f"channel {k}: " if len(planes) > 1 else ""
        with _naming(name):
            scenes[k] = Scene(plane, settings, denoiser.stride, before, where)
        run = passes(scenes[k], denoiser, options, k, _prefixed(log, name), progress)
        runs[k] = _named(run, name)
    _warn_of_elongation(planes, log)

    def from_psf(models: np.ndarray) -> np.ndarray:
        return np.stack([scenes[k].residual(m) if k in scenes else m for k, m in enumerate(models)])

    def observe(models: np.ndarray) -> np.ndarray:
        residuals = (major_cycle or from_psf)(models)
        if mask is not None:
            allowed = mask()
            for k, scene in scenes.items():
                scene.allow(allowed[k])
        return residuals

    return _together(runs, len(planes), observe, start)


def _together(runs: dict[int, Passes], nplane: int, observe: MajorCycle, start: np.ndarray | None):
    """Run the passes of all planes side by side: each major cycle serves them all."""
    found: list[Reconstruction | None] = [None] * nplane
    if not runs:
        return found
    wanted = {k: next(run) for k, run in runs.items()}
    models = np.zeros((nplane, *next(iter(wanted.values())).shape), np.float32)
    if start is not None:
        models[:] = start  # a channel without data keeps its own
    while wanted:
        for k, model in wanted.items():
            models[k] = model
        residuals = observe(models)
        for k in list(wanted):
            try:
                wanted[k] = runs[k].send(residuals[k])
            except StopIteration as end:
                found[k] = end.value
                del wanted[k]
    return found


def _prefixed(log: Callable[[str], None], prefix: str) -> Callable[[str], None]:
    return lambda message: log(prefix + message)


def _named(run: Passes, prefix: str) -> Passes:
    """The same passes, whose errors say of which channel they are."""
    with _naming(prefix):
        return (yield from run)


@contextmanager
def _naming(prefix: str) -> Iterator[None]:
    """Put a prefix before the messages of errors."""
    try:
        yield
    except ValueError as error:
        if not prefix:
            raise
        raise ValueError(f"{prefix}{error}") from error


def _warn_of_elongation(planes: Sequence[DirtyImage | None], log: Callable[[str], None]) -> None:
    """Say so where a beam is longer than any that networks are trained for."""
    if any(p and p.beam.major > MOST_ELONGATED * p.beam.minor for p in planes):
        log(
            f"the beam's axes differ by more than {MOST_ELONGATED}, the most that networks are "
            "trained for: take errors and probabilities with care, or taper the visibilities"
        )
