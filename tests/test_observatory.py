"""Fields of the benchmark as MeasurementSets."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.signal import fftconvolve

from casa_ddpm import sky
from casa_ddpm.benchmark.field import NOISE

pytestmark = pytest.mark.casa


def explained(field):
    """The truth as the dirty beam shows it [Jy/beam]; the beam ends at the image's size."""
    npix = len(field.dirty.data)
    model = sky.render(field.components, 1e-3, field.scale, npix).numpy() * field.noise
    whole = fftconvolve(model, field.dirty.psf)
    return whole[npix // 2 :, npix // 2 :][:npix, :npix]


def test_fields_of_one_array(observatory, tmp_path, monkeypatch):
    """One MeasurementSet serves all, and nothing is written elsewhere."""
    monkeypatch.chdir(tmp_path)
    with observatory.field("independent", 0, 11) as (field, own):
        assert field.dirty.data.shape == (64, 64) and field.noise == NOISE
        assert field.scale == pytest.approx(4.25, rel=0.01)
        assert not field.extended
        kept = field.dirty.data.copy()
        assert any(own.iterdir())
    assert not own.exists()
    with observatory.field("extended", 0, 11) as (field, _):
        assert field.extended
        # The visibilities hold the truth, position angles included: what is left is the noise
        # and sidelobes of the beam from beyond its image.
        assert np.std(field.dirty.data) > 8 * NOISE
        assert np.std(field.dirty.data - explained(field)) < 2 * NOISE
    with observatory.field("independent", 0, 11) as (field, _):
        assert np.array_equal(field.dirty.data, kept)
    assert [path.name for path in observatory.folder.iterdir()] == ["alma.cycle5.3.1200"]
    assert os.listdir(".") == []


def test_scratch_is_removed_after_an_error(observatory):
    with (
        pytest.raises(KeyboardInterrupt),
        observatory.field("independent", 0, 11) as (_, own),
    ):
        assert own.is_dir()
        raise KeyboardInterrupt
    assert not own.exists()
