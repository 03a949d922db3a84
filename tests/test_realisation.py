"""A realisation's light on its stamps, and the gradient that follows it."""

import numpy as np
import pytest
import torch

from casa_ddpm.census import Census
from casa_ddpm.dirty import Beam
from casa_ddpm.ground import Ground
from casa_ddpm.likelihood import Likelihood
from casa_ddpm.psf import gaussian
from casa_ddpm.realisation import Realisation

NPIX, BEAM, KERNEL = 64, 4.0, 2.0
RNG = np.random.default_rng(3)


def disc(y, x, radius=5):
    rows, columns = np.mgrid[:NPIX, :NPIX]
    return np.hypot(rows - y, columns - x) < radius


@pytest.fixture
def begun():
    """Two regions, the second of which holds too little, and a site on the first."""
    regions, sites = disc(30, 20) + 2 * disc(30, 44), disc(31, 22, 3).astype(int)
    psf = gaussian(Beam(BEAM, BEAM, 0).covariance(1), NPIX).double()
    ripple = torch.cos(2 * np.pi / 11 * (torch.arange(NPIX) - NPIX // 2))
    ground = Ground(
        regions, torch.from_numpy(RNG.normal(size=(NPIX, NPIX))),
        Likelihood(0.9 * psf + 0.1 * ripple, 1.0, KERNEL), sites,
    )  # fmt: skip
    sky = 0.1 * (regions == 1) + 0.001 * (regions == 2)
    return Realisation(sky, ground, 1.0, Census(1.0, 1.0))


def test_stamps(begun):
    """Of regions, of sites, and of the regions once more; light is the regions'."""
    ground = begun.ground
    assert (ground.regions, ground.twins, len(ground.boxes)) == (2, 3, 5)
    assert len({tuple(middle) for middle in ground.middles}) == 5
    assert ground.boxes[3:] == ground.boxes[:2] and begun.twin(1) == 4
    assert begun.held == {0}
    light = [stamp.sum() for stamp in begun.light]
    assert light == pytest.approx([0.1 * disc(30, 20).sum(), 0.001 * disc(30, 44).sum(), 0, 0, 0])


def test_the_gradient_follows_the_light(begun):
    """Nearby at once, far away once it is settled; if the light were not there, as well."""
    before, light = begun.gradient.copy(), begun.light[0]
    begun.change(0, 2 * light)
    exact = begun.ground.gradient(begun.sky)
    box = begun.ground.boxes[0]
    assert np.abs(exact - before)[box].max() > 0.5
    # But for sidelobes that the image cuts off before they are sharpened.
    assert begun.gradient[box] == pytest.approx(exact[box], abs=0.01)
    far = np.s_[:, 50:]
    assert np.array_equal(begun.gradient[far], before[far])
    assert not np.allclose(exact[far], before[far])
    begun.settle()
    assert begun.gradient == pytest.approx(exact, abs=1e-9)
    without = begun.ground.gradient(begun.sky - np.where(disc(30, 20), 0.2, 0))
    assert begun.empty(0) == pytest.approx(without[box], abs=0.02)


def test_little_settles_later(begun):
    before = begun.gradient.copy()
    begun.change(0, 1.001 * begun.light[0])
    followed = begun.gradient.copy()
    begun.settle()
    assert np.array_equal(begun.gradient, followed) and not np.array_equal(followed, before)


def test_two_points_and_one_source(begun):
    """Light that is parted and joined is there once, and what is known of it is forgotten."""
    begun.network[0] = begun.light[0]
    begun.census.record(0, 8.0, 0.0, 0.0)
    unknown = Census(1.0, 1.0).others(9).counts
    one, total = begun.light[0], begun.sky.sum()
    assert begun.census.others(9).counts != unknown
    begun.part(0, (0.7 * one, 0.3 * one))
    assert begun.is_parted(0) and begun.is_parted(3) and not begun.is_parted(1)
    assert begun.held == {0, 3} and begun.network[3] is None
    assert begun.sky.sum() == pytest.approx(total)
    assert begun.census.others(9).counts == pytest.approx(unknown)
    begun.join(0, one)
    assert begun.held == {0} and list(begun.network) == [0] and not begun.is_parted(0)
    assert begun.sky.sum() == pytest.approx(total) and not begun.light[3].any()
    begun.begin(1)
    begun.end(1)
    begun.end(1)
    assert begun.held == {0} and 1 not in begun.network


def test_a_source_and_a_ring_round_it_have_random_numbers_of_their_own():
    """As have the second points in them; others have those of their pixel alone."""
    ring = disc(30, 20, 12) & ~disc(30, 20, 8)
    regions = disc(30, 20) + 2 * disc(30, 44) + 3 * ring
    psf = gaussian(Beam(BEAM, BEAM, 0).covariance(1), NPIX).double()
    likelihood = Likelihood(psf, 1.0, KERNEL)
    ground = Ground(regions, torch.zeros(NPIX, NPIX).double(), likelihood, 1 * disc(30, 20, 3))
    white = RNG.normal(size=(NPIX, NPIX)).astype(np.float32)
    drawn = [np.random.default_rng(ground.seed(k, white)).random() for k in range(7)]
    assert np.array_equal(ground.middles[0], ground.middles[2])
    assert np.array_equal(ground.middles[4], ground.middles[6])
    alone = [np.random.default_rng(white[y, x].view(np.uint32)) for y, x in ground.middles]
    assert [a.random() == b for a, b in zip(alone, drawn, strict=True)] == [
        *(True, True, False), True, *(True, True, False)
    ]  # fmt: skip
    assert len(set(drawn)) == 6
