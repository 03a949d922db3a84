"""The dict that ddpmclean returns: tclean's, and an account of the diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from astropy.table import QTable

from casa_ddpm.checkpoint import Settings
from casa_ddpm.device import choose_device, choose_precision
from casa_ddpm.dirty import DirtyImage
from casa_ddpm.reconstruction import Options, Reconstruction

#: tclean's stop codes and words for why the cycles ended; of channels that end otherwise, the last.
_STOP = {
    "threshold": (2, "Reached global stopping criterion: threshold"),
    "noise": (8, "Reached n-sigma threshold: the residual is noise"),
    "stalled": (4, "No change in the residual across two major cycles"),
    "nmajor": (9, "Reached nmajor"),
}


def of_cycles(
    found: Sequence[Reconstruction | None], cycles: int, options: Options, p: dict[str, Any]
) -> dict[str, Any]:
    """What tclean's dict says of the cycles; its iterations are realisations here.

    Parameters
    ----------
    found : sequence of Reconstruction
        One for each channel, None where it has no data.
    cycles : int
        Major cycles after the first, which makes the dirty image.
    options : Options
    p : dict
        The task's parameters.
    """
    made = {k: one for k, one in enumerate(found) if one is not None}
    code, words = _STOP[max((one.stop for one in made.values()), key=list(_STOP).index)]
    drawn = options.sampling.nsamples * max(len(one.cycles) for one in made.values())
    return {
        "stopcode": code,
        "stopDescription": words,
        "iterdone": options.sampling.nsamples * sum(len(one.cycles) for one in made.values()),
        "nmajordone": cycles + 1,
        "cleanstate": "stopped",
        "niter": p["niter"],
        "nsigma": p["nsigma"],
        "threshold": options.threshold,
        "summarymajor": np.arange(0, drawn + 1, options.sampling.nsamples),
        "summaryminor": {
            0: {k: {0: _minor(one, options, p["fullsummary"])} for k, one in made.items()}
        },
    }


def _minor(one: Reconstruction, options: Options, full: bool) -> dict[str, list[float]]:
    """A channel's passes, in the words of tclean's minor cycle."""
    drawn, passes = float(options.sampling.nsamples), range(len(one.cycles))
    columns = {
        "iterDone": [drawn for _ in passes],
        "peakRes": [cycle["peak"] for cycle in one.cycles],
        "modelFlux": [cycle["modelflux"] for cycle in one.cycles],
        "cycleThresh": [0.0 for _ in passes],
    }
    if not full:
        return columns
    return columns | {
        "startIterDone": [drawn * k for k in passes],
        "startPeakRes": [cycle["start"]["peak"] for cycle in one.cycles],
        "startModelFlux": [cycle["start"]["modelflux"] for cycle in one.cycles],
        "startPeakResNM": [cycle["start"]["peaknomask"] for cycle in one.cycles],
        "peakResNM": [cycle["peaknomask"] for cycle in one.cycles],
        "cycleStartIters": [drawn * k for k in passes],
        "masksum": [float(cycle["masksum"]) for cycle in one.cycles],
        "mpiServer": [0.0 for _ in passes],
        "stopCode": [0.0] * (len(one.cycles) - 1) + [float(_STOP[one.stop][0])],
    }


def account(
    planes: Sequence[DirtyImage | None],
    found: Sequence[Reconstruction | None],
    options: Options,
    settings: Settings,
    table: QTable,
    name: str,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """What was drawn, with what, how long it took, and what is left.

    Parameters
    ----------
    planes : sequence of DirtyImage
        One for each channel, None where it has no data.
    found : sequence of Reconstruction
        What was made of them.
    options : Options
    settings : Settings
        Of the options' network.
    table : QTable
        The sources of the component list.
    name : str
        Prefix of the products.
    seconds : dict
        Of each stage.
    """
    device = choose_device(options.sampling.device)
    noise = [np.nan if one is None else one.noise for one in found]
    thermal = [np.nan if p is None or p.thermal is None else p.thermal for p in planes]
    cycles = [[] if one is None else one.cycles for one in found]
    whole = len(found) == 1
    return {
        "imagename": name,
        "network": options.network,
        "networkhash": table.meta["network"],
        "device": str(device),
        "precision": str(choose_precision(options.sampling.precision, device)).split(".")[-1],
        "threads": torch.get_num_threads(),
        "seed": options.sampling.seed,
        "seconds": seconds,
        "noise": noise[0] if whole else np.array(noise),
        "thermalnoise": thermal[0] if whole else np.array(thermal),
        "cycles": cycles[0] if whole else cycles,
        "sources": len(table),
        "candidates": sum(len(one.sources) for one in found if one is not None),
        "calibration": settings.history["calibration"] if settings.calibration else "none",
    }
