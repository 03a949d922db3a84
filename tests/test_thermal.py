"""The noise that visibilities tell of, against the one that was put into them."""

import math
import shutil

import numpy as np
import pytest
from conftest import simulate

from casa_ddpm import measures

if not measures.installed("casatasks"):
    pytest.skip("casatasks is not installed", allow_module_level=True)
measures.configure()

from casatasks import initweights  # noqa: E402
from casatools import table  # noqa: E402

from casa_ddpm import casa, noise  # noqa: E402
from casa_ddpm.casa.thermal import scatter  # noqa: E402

pytestmark = pytest.mark.casa

#: A hundred times the noise of a visibility, and does not change from one to the next.
BRIGHT = ((0.0, 0.0, 0.5),)


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """A bright point at the phase centre, in two spectral windows of four channels."""
    path = tmp_path_factory.mktemp("bright") / "bright.ms"
    return simulate(path, BRIGHT, seed=5, windows=2, channels=4, width="50MHz")


@pytest.fixture
def own(observed, tmp_path):
    """A copy of it, that may be changed."""
    return shutil.copytree(observed.path, tmp_path / "own.ms")


def change(path, change_columns):
    """Change DATA, FLAG and WEIGHT of a MeasurementSet in place."""
    tool = table()
    tool.open(str(path), nomodify=False)
    columns = {name: tool.getcol(name) for name in ("DATA", "FLAG", "WEIGHT")}
    change_columns(columns)
    for name, values in columns.items():
        tool.putcol(name, values)
    tool.done()


def thermal_noise(observed, folder, vis="", **parameters):
    everything = observed.parameters | {"vis": str(vis or observed.path), "datacolumn": "data"}
    everything |= {"niter": 1} | parameters
    with casa.VisibilityImager(everything | {"imagename": str(folder / "image")}) as imager:
        (dirty,) = imager.dirty()
        return dirty.thermal, dirty


def test_what_was_put_in(observed, tmp_path):
    found, dirty = thermal_noise(observed, tmp_path)
    assert found == pytest.approx(observed.noise, rel=0.01)
    assert noise.rms(dirty.data) > 10 * observed.noise


@pytest.mark.parametrize(
    "weighting",
    [
        {"weighting": "briggs", "robust": 0.0},
        {"weighting": "uniform"},
        {"uvtaper": ["0.8arcsec"]},
        {"gridder": "wproject", "wprojplanes": 4},
    ],
)
def test_of_the_image_that_the_weights_make(observed, own, tmp_path, weighting):
    powers = []
    for seed in range(8):
        random = np.random.default_rng(seed)

        def noise_alone(columns, random=random):
            parts = random.normal(scale=5e-3, size=(2, *columns["DATA"].shape))
            columns["DATA"] = parts[0] + 1j * parts[1]

        change(own, noise_alone)
        folder = tmp_path / str(seed)
        folder.mkdir()
        found, dirty = thermal_noise(observed, folder, own, pblimit=-0.1, **weighting)
        powers.append(np.mean(dirty.data**2))
    # A field of a hundred beams tells its own noise to 7 per cent.
    assert found == pytest.approx(math.sqrt(np.mean(powers)), rel=0.05)


def test_the_scale_of_the_weights_does_not_matter(observed, own, tmp_path):
    change(own, lambda columns: columns.update(WEIGHT=9.0 * columns["WEIGHT"]))
    found, _ = thermal_noise(observed, tmp_path, own)
    assert found == pytest.approx(observed.noise, rel=0.01)


def test_weights_of_channels(observed, own, tmp_path):
    """Where each channel has a weight CASA takes it, and so does what is said of the noise."""
    initweights(str(own), wtmode="weight", dowtsp=True)
    tool = table()
    tool.open(str(own), nomodify=False)
    spectrum = tool.getcol("WEIGHT_SPECTRUM")
    spectrum[:, 2:] /= 16
    tool.putcol("WEIGHT_SPECTRUM", spectrum)
    tool.done()

    def disturb(columns):
        random = np.random.default_rng(6)
        noise = random.normal(scale=5e-3, size=(2, *columns["DATA"].shape))
        columns["DATA"] = noise[0] + 1j * noise[1]
        columns["DATA"][:, 2:] *= 4

    change(own, disturb)
    found, _ = thermal_noise(observed, tmp_path, own)
    # Half of the visibilities count in full, the others for a sixteenth.
    assert found == pytest.approx(observed.noise * math.sqrt(2 / (1 + 1 / 16)), rel=0.02)


def test_interference_and_flags_do_not_matter(observed, own, tmp_path):
    def spoil(columns):
        random = np.random.default_rng(1)
        columns["DATA"][random.random(columns["DATA"].shape) < 1e-3] += 100
        bad = random.random(columns["FLAG"].shape) < 0.3
        columns["FLAG"] |= bad
        columns["DATA"][bad] = 1e6

    change(own, spoil)
    found, _ = thermal_noise(observed, tmp_path, own)
    # Stokes I is made of visibilities of which neither correlation is flagged.
    assert found == pytest.approx(observed.noise / 0.7, rel=0.02)


def test_a_selection(observed, tmp_path):
    found, _ = thermal_noise(observed, tmp_path, spw="1")
    assert found == pytest.approx(math.sqrt(2) * observed.noise, rel=0.02)


def test_a_selection_of_channels(observed, own, tmp_path):
    """Noise at the edges of the windows does not matter where they are not asked for."""

    def spoil(columns):
        random = np.random.default_rng(2)
        noise = random.normal(scale=0.05, size=(2, *columns["DATA"].shape))
        columns["DATA"][:, [0, 3]] += (noise[0] + 1j * noise[1])[:, [0, 3]]

    change(own, spoil)
    found, _ = thermal_noise(observed, tmp_path, own, spw="0~1:1~2")
    assert found == pytest.approx(math.sqrt(2) * observed.noise, rel=0.02)


def test_correlated_channels(observed, own, tmp_path):
    """Hanning smoothing changes a channel's noise, not that of the image of all."""

    def smooth(columns):
        random = np.random.default_rng(3)
        noise = random.normal(scale=5e-3, size=(2, *columns["DATA"].shape))
        noise = noise[0] + 1j * noise[1]
        around = np.roll(noise, 1, axis=1) + np.roll(noise, -1, axis=1)
        columns["DATA"] = noise / 2 + around / 4

    change(own, smooth)
    found, _ = thermal_noise(observed, tmp_path, own)
    assert found == pytest.approx(observed.noise, rel=0.03)


def test_baselines_of_other_noise_and_of_other_weight(observed, own, tmp_path):
    """A fifth of the antennas with five times the noise: all that the image has counts."""
    tool = table()
    tool.open(str(own))
    bad = (tool.getcol("ANTENNA1") % 5 == 0) | (tool.getcol("ANTENNA2") % 5 == 0)
    tool.done()

    def disturb(columns):
        random = np.random.default_rng(4)
        noise = random.normal(scale=5e-3, size=(2, *columns["DATA"].shape))
        columns["DATA"] = (noise[0] + 1j * noise[1]) * np.where(bad, 5, 1)

    change(own, disturb)
    found, _ = thermal_noise(observed, tmp_path, own)
    share = bad.mean()
    expected = observed.noise * math.sqrt(1 - share + 25 * share)
    assert found == pytest.approx(expected, rel=0.02)


def test_what_cannot_be_told_stops_no_image(observed, tmp_path, monkeypatch):
    def broken(parameters):
        raise RuntimeError("no such column")

    monkeypatch.setattr("casa_ddpm.casa.sensitivity.scatter", broken)
    found, dirty = thermal_noise(observed, tmp_path)
    assert found is None and dirty.data.any()


@pytest.mark.parametrize(
    "parameters",
    [{"gridder": "mosaic"}, {"specmode": "cube", "nchan": 2}, {"stokes": "XX"}],
    ids=lambda parameters: next(iter(parameters)),
)
def test_unknown(observed, tmp_path, parameters):
    everything = observed.parameters | parameters | {"niter": 1}
    everything |= {"imagename": str(tmp_path / "image")}
    with casa.VisibilityImager(everything) as imager:
        assert all(plane.thermal is None for plane in imager.dirty())


def test_unknown_of_one_integration(observed):
    tool = table()
    tool.open(observed.path)
    times = np.unique(tool.getcol("TIME"))
    tool.done()
    assert len(times) > 1
    assert math.isfinite(scatter({"vis": observed.path, "datacolumn": "data", "timerange": ""}))
    one = {"vis": observed.path, "datacolumn": "data", "timerange": timerange(times[0])}
    assert math.isnan(scatter(one))


def timerange(seconds):
    """The integration at a time of the MeasurementSet [s], as a selection."""
    from astropy.time import Time

    times = [Time((seconds + step) / 86400, format="mjd") for step in (-10, 10)]
    return "~".join(time.strftime("%Y/%m/%d/%H:%M:%S") for time in times)


@pytest.mark.parametrize("limit", ["_MOST_CHANNELS", "_MOST"])
def test_a_part_stands_for_all_of_a_window(own, monkeypatch, limit):
    """Windows of which not all is looked at count as much as if it were."""

    def disturb(columns):
        random = np.random.default_rng(7)
        noise = random.normal(scale=5e-3, size=(2, *columns["DATA"].shape))
        columns["DATA"] = noise[0] + 1j * noise[1]
        # The rows of the second window are the last.
        columns["DATA"][..., columns["DATA"].shape[-1] // 2 :] *= 3

    change(own, disturb)
    chosen = casa.tclean_defaults() | {"vis": str(own), "datacolumn": "data"}
    # One channel of the first window, all four of the second.
    chosen["spw"] = "0:1,1"
    whole = scatter(chosen)
    assert whole == pytest.approx(5e-3 * math.sqrt((1 + 4 * 9) / 5), rel=0.03)
    monkeypatch.setattr(
        f"casa_ddpm.casa.thermal.{limit}", 1 if limit == "_MOST_CHANNELS" else 20000
    )
    assert scatter(chosen) == pytest.approx(whole, rel=0.05)


@pytest.mark.parametrize(
    "alias", [{"specmode": "cont"}, {"gridder": "ft"}, {"gridder": "widefield"}]
)
def test_known_under_every_name_of_the_same(observed, tmp_path, alias):
    found, _ = thermal_noise(observed, tmp_path, **alias)
    assert found == pytest.approx(observed.noise, rel=0.01)
