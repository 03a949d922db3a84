"""Models of the sky beside the true one, at a resolution at which they can be compared."""

from __future__ import annotations

import numpy as np
import torch

from casa_ddpm.benchmark.field import Field
from casa_ddpm.benchmark.image_metrics import signal_to_error
from casa_ddpm.psf import smooth
from casa_ddpm.sky import render

#: Resolution at which models are compared [beam]: that of the network's realisations.
RESOLUTION = 0.5


def true_model(field: Field) -> np.ndarray:
    """The true sky at half the beam's resolution [Jy/pixel]."""
    npix = len(field.dirty.data)
    return render(field.components, RESOLUTION, field.scale, npix).numpy() * field.noise


def smoothed(field: Field, model: np.ndarray) -> np.ndarray:
    """A model convolved with a round Gaussian of half the beam, in its own unit."""
    sky = torch.from_numpy(np.array(model, np.float32))
    return smooth(sky, RESOLUTION * field.scale).numpy()


def fidelity(field: Field, model: np.ndarray) -> float:
    """Signal-to-error ratio [dB] of a model [Jy/pixel] at half the beam's resolution."""
    return signal_to_error(smoothed(field, model), true_model(field))
