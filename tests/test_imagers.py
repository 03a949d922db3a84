"""What imagers are given, and the stages that several rivals share."""

import math

import pytest
import restored

from casa_ddpm.benchmark import imagers


@pytest.mark.parametrize(
    "change, message",
    [
        ({"vis": "nowhere.ms"}, "vis must be a MeasurementSet, got '.*nowhere.ms'"),
        ({"noise": 0.0}, r"noise must be positive \[Jy/beam\], got 0.0"),
        ({"noise": math.nan}, r"noise must be positive \[Jy/beam\], got nan"),
        ({"imaging": {"imsize": 64}}, "imaging must have cell"),
        ({"imaging": {}}, "imaging must have cell and imsize"),
        (
            {"imaging": {"imsize": 64, "cell": "1arcsec", "niter": 5, "mask": ""}},
            "imaging must leave mask, niter to the rivals",
        ),
        (
            {"imaging": {"imsize": 64, "cell": "1arcsec", "specmode": "cube"}},
            "imaging must have specmode 'mfs', got 'cube'",
        ),
        (
            {"imaging": {"imsize": 64, "cell": "1arcsec", "stokes": "IQ"}},
            "imaging must have stokes 'I', got 'IQ'",
        ),
    ],
)
def test_observation_is_checked(tmp_path, change, message):
    good = vars(restored.observation(tmp_path))
    with pytest.raises(ValueError, match=message):
        imagers.Observation(**good | change)


def test_a_stage_is_made_once_for_its_parameters(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        (folder / f"product{len(made)}").touch()

    folder = tmp_path / "stage"
    first = imagers.once(folder, {"a": 1, "b": (2, 3)}, make)
    assert imagers.once(folder, {"a": 1, "b": (2, 3)}, make) == first > 0
    assert len(made) == 1
    imagers.once(folder, {"a": 2, "b": (2, 3)}, make)
    assert sorted(path.name for path in folder.iterdir()) == ["made.json", "product2"]


def test_a_stage_that_was_cut_off_is_made_again(tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        imagers.once(tmp_path / "stage", {}, fail)
    imagers.once(tmp_path / "stage", {}, lambda folder: None)
    assert [path.name for path in (tmp_path / "stage").iterdir()] == ["made.json"]


def test_wsclean_is_given_the_weighting():
    natural = imagers.wsclean_options({"imsize": 64, "cell": "1arcsec"}, False)
    assert natural[:2] == ["-weight", "natural"]
    assert "-multiscale" not in natural
    briggs = {"weighting": "briggs", "robust": -0.5, "datacolumn": "data"}
    options = imagers.wsclean_options(briggs, True)
    assert options[:6] == "-weight briggs -0.5 -data-column DATA -multiscale".split()


@pytest.mark.parametrize(
    "imaging, named",
    [
        ({"gridder": "mosaic"}, "gridder='mosaic'"),
        ({"weighting": "briggsabs"}, "weighting='briggsabs'"),
        ({"uvtaper": ["1arcsec"]}, r"uvtaper=\['1arcsec'\]"),
    ],
)
def test_wsclean_is_not_run_on_what_it_was_not_told(imaging, named):
    message = f"imaging must be one that WSClean can do, got {named}"
    with pytest.raises(ValueError, match=message):
        imagers.wsclean_options(imaging, False)


@pytest.mark.casa
def test_an_image_of_several_planes_is_refused(monkeypatch):
    from casa_ddpm.casa import clean

    monkeypatch.setattr(clean, "tclean", lambda **parameters: None)
    monkeypatch.setattr(clean, "read_dirty", lambda imagename: [None, None])
    with pytest.raises(ValueError, match="imaging must give one plane with data, got 2 planes"):
        clean.dirty("a.ms", "a", {})
