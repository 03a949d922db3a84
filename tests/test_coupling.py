"""What light does to the gradient elsewhere, against the likelihood of the whole image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from casa_ddpm.coupling import Coupling, grown
from casa_ddpm.dirty import Beam
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.psf import gaussian

NPIX = 40


@pytest.fixture(scope="module")
def likelihood():
    return Likelihood(gaussian(Beam(6, 4, 30).covariance(1), NPIX).double(), 1.0, 2.0)


@pytest.mark.parametrize("box", [(slice(8, 21), slice(14, 24)), (slice(12, 20), slice(10, 30))])
def test_it_is_what_the_whole_image_gives(likelihood, box):
    light = np.zeros((2, NPIX, NPIX))
    stamps = np.random.default_rng(0).random((2, *light[(0, *box)].shape))
    light[(slice(None), *box)] = stamps
    whole = likelihood.sharpened(likelihood.predict(torch.from_numpy(light))).numpy()
    near = grown(box, 5, (NPIX, NPIX))
    coupling = Coupling(likelihood)
    # Twice the filter of an image that is cut in between differs where the cut was.
    inner = np.s_[:, 3:-3, 3:-3]
    found = coupling.seen(stamps, box, near)
    assert found.shape[-2:] == light[(0, *near)].shape
    np.testing.assert_allclose(found[inner], whole[(slice(None), *near)][inner], atol=0.02)
    np.testing.assert_allclose(
        coupling.seen(stamps), found[(slice(None), *_within(box, near))], atol=1e-10
    )


def _within(box, near):
    """A box's place in the larger one."""
    return tuple(slice(b.start - n.start, b.stop - n.start) for b, n in zip(box, near, strict=True))


def test_gradient_without_the_light(likelihood):
    coupling, stamp = Coupling(likelihood), np.random.default_rng(1).random((9, 9))
    gradient = np.ones((9, 9))
    np.testing.assert_allclose(coupling.without(stamp, gradient) - coupling.seen(stamp), gradient)
    assert coupling.without(0 * stamp, gradient) is gradient


def test_grown_stays_within_the_image():
    assert grown((slice(2, 5), slice(30, 38)), 4, (40, 40)) == (slice(0, 9), slice(26, 40))
