"""What can be known of points: against single sources, theory and empty fields."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from casa_ddpm.benchmark import oracle
from casa_ddpm.benchmark.field import simulated
from casa_ddpm.benchmark.matched_filter import chance
from casa_ddpm.benchmark.peaks import find_peaks
from casa_ddpm.fourier import convolve
from casa_ddpm.simulator import draw_sky
from casa_ddpm.sky import points


@pytest.fixture(scope="module")
def empty():
    return simulated("empty", 0, 5, 128)


def quiet(field, position, flux):
    """The field with these points [beam, noise] and no noise."""
    truth = points(np.array(position, float), np.array(flux, float))
    _, sky = draw_sky(truth, field.scale, len(field.dirty.data))
    data = convolve(sky, torch.from_numpy(field.psf)).numpy() * field.noise
    return replace(field, components=truth, dirty=replace(field.dirty, data=data))


def test_each_source_is_found_as_if_it_were_alone(empty):
    # Half a beam apart the dirty image has one peak, and the sidelobes of S/N 1000 hide S/N 5.
    field = quiet(empty, [(0, 0), (0, 0.5), (6, -7)], [1000, 20, 5])
    found = oracle.detections(field, "oracle")
    truth = field.truth()[found["match"]]
    assert len(found) == 3
    # A paraboloid through pixels of a quarter of a beam is 1 % off.
    np.testing.assert_allclose(found["flux"], truth["flux"], rtol=0.02)
    np.testing.assert_allclose(found["x"], truth["x"], atol=0.1)
    np.testing.assert_allclose(found["y"], truth["y"], atol=0.1)


def test_of_noise_alone_it_lists_the_peaks(empty):
    found = oracle.detections(empty, "oracle")
    assert len(found) == len(find_peaks(empty.dirty.data / empty.noise, oracle.LOWEST)[0])
    assert (found["match"] == -1).all()


def test_it_finds_what_theory_says():
    snr, score = [], []
    for index in range(30):
        field = simulated("independent", index, 3, 128)
        found, truth = oracle.detections(field, "oracle"), field.truth()
        best = np.zeros(len(truth))
        hit = found["match"] >= 0
        best[found["match"][hit]] = found["score"][hit]
        snr += list(truth["snr"])
        score += list(best)
    expected = chance(np.array(snr), 4.0)
    # Bernoulli draws of these chances, three standard deviations.
    margin = 3 * np.sqrt((expected * (1 - expected)).sum())
    assert len(snr) > 200
    assert abs((np.array(score) > 4).sum() - expected.sum()) < margin


@pytest.mark.parametrize("protocol", ["extended", "dynamic-range"])
def test_other_sources_are_refused(protocol):
    field = simulated(protocol, 0, 5, 128)
    assert not oracle.knows(field)
    text = f"field must have points of S/N up to 1000 alone, got {protocol} 0"
    with pytest.raises(ValueError, match=text):
        oracle.detections(field, "oracle")


def test_the_psf_of_the_image_stands_in_for_the_wide_one(empty):
    near = quiet(empty, [(0, 0)], [10])
    found = oracle.detections(replace(near, psf=None), "oracle")
    np.testing.assert_allclose(found["flux"], 10, rtol=0.02)


def test_a_simulated_field_knows_its_psf_on_twice_the_image(empty):
    assert empty.psf.shape == tuple(2 * n for n in empty.dirty.data.shape)
    assert empty.psf[128, 128] == pytest.approx(1)
