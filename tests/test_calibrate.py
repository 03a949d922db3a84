"""The command: fields, comparison with the truth, and a checkpoint that holds the result."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from casa_ddpm import calibrate, checkpoint, cli, simulator, sky
from casa_ddpm.calibration import Calibration
from casa_ddpm.dirty import Beam, DirtyImage
from casa_ddpm.disturbance import Signs
from casa_ddpm.normalisation import Normalisation

QUIET = Signs(0.0, 1.0, 0.0)


@pytest.fixture
def plain():
    """A dirty image of 64 pixels, four a beam; its content does not matter."""
    psf = np.zeros((64, 64))
    psf[32, 32] = 1
    return DirtyImage(np.zeros((64, 64)), psf, Beam(1, 1, 0), 0.25)


def sources(*rows):
    """x, y, flux of detections with errors of 1."""
    x, y, flux = np.array(rows, float).T
    one = np.ones(len(x))
    return QTable(
        {
            "x": x * u.pix, "y": y * u.pix, "flux": flux * u.Jy, "flux_lo": (flux - 1) * u.Jy,
            "flux_hi": (flux + 2) * u.Jy, "ra_err": 0.1 * one * u.arcsec,
            "dec_err": 0.2 * one * u.arcsec, "prob": one, "snr": flux,
            "blended": one < 0, "resolved": one < 0, "major": 0 * one * u.arcsec,
            "count": 20 * one,
        }
    )  # fmt: skip


def test_compare_with_points(plain):
    truth = sky.points(np.array([[0.0, 0.0], [4.0, -4.0]]), np.array([10.0, 20.0]))
    # The first is half a pixel off in x, the second is missed, the third is false.
    found = calibrate.compare(sources((32.5, 32, 8), (5, 5, 3)), plain, truth, QUIET)
    assert found["true"].tolist() == [True, False]
    assert found["flux"][0] == pytest.approx(2 / 2) and np.isnan(found["flux"][1])
    assert found["position"][0] == pytest.approx([0, -0.125 / 0.1])
    for name, value in (("sidelobe", 0), ("peak", 1), ("disturbance", 0), ("structure", 0)):
        assert found[name].tolist() == [value] * 2


def test_errors_are_taken_on_the_side_of_the_truth(plain):
    truth = sky.points(np.zeros((1, 2)), np.array([10.0]))
    for measured, expected in ((8, 1.0), (12, -2.0)):
        found = calibrate.compare(sources((32, 32, measured)), plain, truth, QUIET)
        assert found["flux"][0] == pytest.approx(expected)


def test_structure_is_true_but_not_measured(plain):
    ring = sky.ring(np.random.default_rng(1), 500.0)
    y, x = ring.position[3] * 4 + 32
    found = calibrate.compare(sources((x, y, 30)), plain, ring, QUIET)
    assert found["true"].tolist() == [True] and np.isnan(found["flux"][0])


def test_a_source_is_one_candidate_and_the_faintest_none(plain):
    """Nor are pieces of a source sources, or what chance has put next to a candidate."""
    truth = sky.points(np.array([[0.0, 0.0], [4.0, -4.0]]), np.array([10.0, 1.5]))
    found = calibrate.compare(sources((32, 32, 8), (33, 33, 3), (16, 48, 2)), plain, truth, QUIET)
    assert found["true"].tolist() == [True, False, False]


def test_empty_sky_and_no_candidates(plain):
    nothing = sky.points(np.zeros((0, 2)), np.zeros(0))
    assert calibrate.compare(sources((5, 5, 3)), plain, nothing, QUIET)["true"].tolist() == [False]
    found = calibrate.compare(sources((5, 5, 3))[:0], plain, nothing, QUIET)
    assert found["flux"].shape == (0,) and found["position"].shape == (0, 2)


def test_score_is_least_for_the_truth(plain):
    """Too narrow, too wide and shifted realisations all score worse than the right ones."""
    rng = np.random.default_rng(0)
    truth = sky.points(rng.uniform(-7, 7, (60, 2)), rng.uniform(2, 20, 60))

    def scored(width, factor=1.0):
        noise = rng.normal(size=(40, 60))
        # The truth is a draw from the same posterior: centred a draw away from it.
        middle = truth.flux + 2 * rng.normal(size=60)
        samples = np.stack(
            [
                sky.render(truth, 0.5, 4.0, 64, flux=factor * (middle + 2 * width * n)).numpy()
                for n in noise
            ]
        )
        return calibrate.score(type("Found", (), {"samples": samples}), plain, truth, 0.5)

    right = np.mean([scored(1) for _ in range(8)])
    for width, factor in ((0.2, 1), (4, 1), (1, 0.6)):
        assert np.mean([scored(width, factor) for _ in range(8)]) > right


def test_fields_are_of_their_own_stream():
    kind = simulator.Settings(npix=32)
    ours = calibrate.simulate(0, kind, 0)[0].data
    for stream in ("train", "validation", "test"):
        other = simulator.simulate([0], kind, 0, stream).dirty[0].numpy()
        assert abs(np.corrcoef(ours.ravel(), other.ravel())[0, 1]) < 0.5


def test_command(tmp_path, monkeypatch):
    """The shipped network, once: a checkpoint that load reads and the task can use."""
    monkeypatch.setattr("casa_ddpm.calibration.FEWEST", 8)
    out = tmp_path / "n.safetensors"
    arguments = [
        "calibrate", "--network", "default", "--out", str(out), "--fields", "6", "--search", "1",
        "--temperatures", "0.7,1", "--npix", "64", "--nsamples", "4", "--seed", "4",
        "--check", "2",
    ]  # fmt: skip
    assert cli.main(arguments) == 0
    before, after = checkpoint.load("default")[1], checkpoint.load(out)[1]
    assert after.temperature in (0.7, 1.0)
    assert isinstance(Calibration.of(after.calibration), Calibration)
    account = after.history["calibration"]
    assert set(account["scores"]) == {"0.7", "1.0"}
    rows = account["check"]["prob"]
    assert sum(row["candidates"] for row in rows) > 0
    assert after.widths == before.widths and after.history["step"] == before.history["step"]
    assert list(tmp_path.iterdir()) == [out]
    assert cli.main(arguments) != 0  # nothing is overwritten


def test_what_fails_leaves_nothing(tmp_path, capsys):
    out = tmp_path / "n.safetensors"
    arguments = [
        "calibrate", "--network", "default", "--out", str(out), "--fields", "1", "--search", "1",
        "--temperatures", "1", "--npix", "64", "--nsamples", "2",
    ]  # fmt: skip
    assert cli.main(arguments) != 0
    assert "calibration must have at least 25 sources" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert cli.main([*arguments[:-1], "1"]) != 0
    assert "nsamples must be at least 2, got 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--seed -1", "seed must be at least 0, got -1"),
        ("--workers -1", "workers must be at least 0, got -1"),
        *(
            (
                f"--temperatures {text}",
                f"temperatures must be positive numbers separated by commas, got '{text}'",
            )
            for text in ("a,b", "1,0", "1,nan", "1,")
        ),
    ],
)
def test_refused(tmp_path, capsys, words, message):
    out = ["--network", "default", "--out", str(tmp_path / "n.safetensors")]
    assert cli.main(["calibrate", *out, *words.split()]) == 2
    assert capsys.readouterr().err == f"casa-ddpm calibrate: {message}\n"
    assert not list(tmp_path.iterdir())


def test_a_network_of_the_published_protocol_is_refused(tmp_path, capsys):
    """Before anything is written."""
    settings = checkpoint.Settings(
        widths=(4, 8), depth=1, sigma_data=0.1, normalisation=Normalisation("published"),
        conditioning="dirty", position=3, npix=16,
    )  # fmt: skip
    placed, out = tmp_path / "placed.safetensors", tmp_path / "n.safetensors"
    checkpoint.save(placed, settings.build(), settings)
    assert cli.main(["calibrate", "--network", str(placed), "--out", str(out)]) == 2
    assert "network must work anywhere on an image, got" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [placed]
