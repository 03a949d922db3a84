"""The benchmark of the published protocol: what it finds, what it writes, what it refuses."""

import json

import numpy as np
import pytest
import torch
from astropy.table import Table

from casa_ddpm import checkpoint, cli, pointing, published
from casa_ddpm.benchmark.image_metrics import ssim
from casa_ddpm.benchmark.published import command, figures, localisation, measurement, page
from casa_ddpm.benchmark.published.localisation import Sources, aperture_flux, locate, majority
from casa_ddpm.benchmark.published.measurement import DETECTIONS, IMAGES, TRUE, Measured, enlarged
from casa_ddpm.checkpoint import Settings
from casa_ddpm.normalisation import Normalisation


def network(path, conditioning="dirty", law="published"):
    torch.manual_seed(0)
    settings = Settings(
        widths=(4, 4), depth=1, sigma_data=0.1, normalisation=Normalisation("published"),
        conditioning=conditioning, position=1, npix=pointing.WINDOW, history={"law": law},
    )  # fmt: skip
    checkpoint.save(path, settings.build(), settings)
    return str(path)


def sky(number=3, seed=3):
    rng = np.random.default_rng(seed)
    while len(components := published.draw_sky(rng)) != number:
        pass
    return components, published.image(components, 256)


def test_enlarged_image_is_nearly_the_sky():
    _, image = sky()
    low = pointing.block_mean(torch.from_numpy(image))
    (high,) = enlarged(low.numpy())
    assert np.linalg.norm(high - image) < 0.08 * np.linalg.norm(image)
    np.testing.assert_allclose(high.sum(), image.sum(), rtol=0.02)


def test_similarity_is_that_of_the_whole_images():
    components, image = sky()
    whole = published.image(components)
    noisy = np.pad(image + 1e-6 * np.random.default_rng(0).normal(size=image.shape), 128)
    assert measurement.similarity(noisy, whole) == pytest.approx(ssim(noisy, whole), abs=1e-12)
    values = measurement.compare(image, whole)
    assert values[0] < 1e-6
    assert values[2] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("resampled", [False, True])
def test_sources_are_found_where_they_are(resampled):
    components, image = sky(5)
    if resampled:
        (image,) = enlarged(pointing.block_mean(torch.from_numpy(image)).numpy())
    found = locate(image)
    order = [int(np.hypot(*(components.position - p).T).argmin()) for p in found.position]
    assert sorted(order) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(found.position, components.position[order], atol=0.1)
    flux = aperture_flux(image[None], found.position)[0]
    np.testing.assert_allclose(flux, components.flux[order], rtol=0.05)


def test_nothing_in_nothing():
    found = locate(np.zeros((32, 32)))
    assert found.position.shape == (0, 2)
    assert aperture_flux(np.zeros((3, 32, 32)), found.position).shape == (3, 0)
    assert len(majority([found, found]).peak) == 0


def test_majority():
    """Two of three is a majority, one is not; the peak is that which two reach."""
    one = Sources(np.array([[0.0, 0], [3, 3]]), np.array([5.0, 9]))
    two = Sources(np.array([[0.1, 0]]), np.array([7.0]))
    none = Sources(np.zeros((0, 2)), np.zeros(0))
    found = majority([one, two, none])
    np.testing.assert_allclose(found.position, [[0.1 * 7 / 12, 0]])
    assert found.peak.tolist() == [5]
    assert len(majority([one, none, none]).peak) == 0
    # Twice in one realisation counts once.
    twice = Sources(np.array([[0.0, 0], [0, 0.1]]), np.array([5.0, 6]))
    assert len(majority([twice, none, none]).peak) == 0


def table(rows, columns):
    return measurement._table(rows, columns)


def test_figures_by_hand():
    """Two fields of two sources: three found, one of them false, and 20 per cent too bright."""
    truth = [(s, f, 0.0, x, 1.0) for s in ("validation", "test") for f in (0, 1) for x in (0.0, 5)]
    images, detections = [], []
    for stream in ("validation", "test"):
        for field in (0, 1):
            for method in (*measurement.METHODS, measurement.TRUTH, measurement.RESAMPLED):
                key = ("dirty", "shared", stream, field, method)
                images.append((*key, 1.0 + field, np.inf, 0.5, 30.0, 0.9))
        key = ("dirty", "shared", stream, 0, "mean")
        detections += [(*key, 0.0, 0.1, 1e-6, 1.2, 0.3), (*key, 0.0, 4.9, 9e-6, 1.2, 0.05)]
        detections += [(*key, 0.0, 4.5, 5e-6, 1.2, 0.1), (*key, 3.0, 4.5, 3.5e-7, 1.0, 0.1)]
    found = Measured(table(truth, TRUE), table(images, IMAGES), table(detections, DETECTIONS))
    mean = figures.figures(found, 0)["dirty"]["shared"]["mean"]
    values = {name: figure["value"] for name, figure in mean.items()}
    assert 3.5e-7 < values["threshold"] <= 1e-6
    assert values["l2"] == 1.5
    assert values["psnr"] is None
    assert values["purity"] == pytest.approx(2 / 3, abs=1e-5)
    assert values["completeness"] == 0.5
    assert values["f1"] == pytest.approx(4 / 7, abs=1e-5)
    assert values["flux_ratio"] == pytest.approx(1.2)
    assert values["within_1s"] == 0.5
    assert values["within_2s"] == 0.5
    assert values["error_ratio"] == pytest.approx(0.2 / np.sqrt(0.04625), abs=1e-5)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The same run twice."""
    folder = tmp_path_factory.mktemp("published")
    networks = ",".join(
        f"{name}={network(folder / f'{name}.safetensors', name)}" for name in ("dirty", "uv")
    )
    for out in ("one", "two"):
        words = f"benchmark --protocols published --out {folder / out} --networks {networks}"
        assert cli.main([*words.split(), *"--fields 2 --tuning 1 --nsamples 2".split()]) == 0
    return folder


def test_two_runs_write_the_same_bytes(reports):
    names = sorted(path.name for path in (reports / "one").iterdir())
    expected = ["detections.ecsv", "figures.json", "images.ecsv", "report.md", "truth.ecsv"]
    assert names == expected
    for name in names:
        assert (reports / "one" / name).read_bytes() == (reports / "two" / name).read_bytes()


def test_goes_on_where_it_was_cut_off(reports, monkeypatch):
    original, items = measurement.measure, []

    def cut_off(plan, item):
        items.append(item)
        if len(items) == 3:
            raise KeyboardInterrupt
        return original(plan, item)

    monkeypatch.setattr(measurement, "measure", cut_off)
    networks = ",".join(f"{name}={reports / name}.safetensors" for name in ("dirty", "uv"))
    words = f"benchmark --protocols published --out {reports / 'three'} --networks {networks}"
    words = [*words.split(), *"--fields 2 --tuning 1 --nsamples 2".split()]
    assert cli.main(words) == 130
    assert not (reports / "three").exists()
    assert cli.main(words) == 0
    # Ten fields; the third was begun twice.
    assert len(items) == 11 and items[2] == items[3]
    for path in (reports / "one").iterdir():
        assert path.read_bytes() == (reports / "three" / path.name).read_bytes(), path.name


def test_report(reports):
    text = (reports / "one" / "report.md").read_text()
    assert "This protocol leaks" in text
    assert "| L2 [1e-5 Jy/pixel] | median | 1.728 |" in text
    assert "| L2 [1e-5 Jy/pixel] | median | 1.984 |" in text
    assert str(reports) not in text
    result = json.loads((reports / "one" / "figures.json").read_text())
    assert list(result["figures"]) == ["dirty", "uv", "none"]
    assert list(result["figures"]["uv"]) == ["shared", "independent"]
    assert result["published"] == page.PUBLISHED
    truth = result["figures"]["none"]["none"]["true sky"]
    assert truth["completeness"]["value"] == truth["purity"]["value"] == 1
    images = Table.read(reports / "one" / "images.ecsv")
    assert np.isfinite(images["l2"]).all()
    assert set(images["field"][images["stream"] == "test"]) == {0, 1}


def test_thresholds_are_not_chosen_on_test_fields():
    """Other test detections, the same thresholds."""
    rows = [("dirty", "shared", "test", 0, "mean", 0.0, 0.0, 1e-6, 1.0, 0.1)]
    empty = Measured(table([], TRUE), table([], IMAGES), table([], DETECTIONS))
    other = Measured(table([], TRUE), table([], IMAGES), table(rows, DETECTIONS))
    got = [figures.threshold(found, "dirty", "mean") for found in (empty, other)]
    assert got[0] == got[1] == localisation.LOWEST


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--protocols published", "networks must be given as dirty=PATH,uv=PATH; none ships, train "
         "one with: casa-ddpm train --law published"),
        ("--protocols published --networks a.safetensors", "networks must be given as dirty=PATH"),
        ("--protocols published --networks dirty=default", "network 'default' must be trained with "
         "--law published --conditioning dirty, got law None and conditioning 'restored'"),
        ("--protocols published,empty", "protocols must name published alone, got 'published,empt"),
        ("--networks dirty=x", "networks must come with protocols published, got 'dirty=x'"),
        ("--protocols published --quick", "quick must not be given with protocols publis"),
        ("--protocols published --scale 5", "scale must not be given with protocols publis"),
        ("--protocols published --tuning 0", "tuning must be at least 1, got 0"),
        ("--protocols published --nsamples 1", "nsamples must be at least 2, got 1"),
    ],
)  # fmt: skip
def test_errors(words, text, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["benchmark", "--out", str(out), *words.split()]) == 2
    assert text in capsys.readouterr().err
    assert not out.exists()


def test_a_network_of_another_conditioning(tmp_path):
    path = network(tmp_path / "a.safetensors", "uv")
    with pytest.raises(ValueError, match="must be trained with --law published --conditioning dir"):
        command.chosen(f"dirty={path}")
    assert command.chosen(f"uv={path}") == {"uv": path}
