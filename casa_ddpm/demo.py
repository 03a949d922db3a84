"""The demonstration: a simulated ALMA field, imaged by ddpmclean and tclean, beside the truth."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from matplotlib.figure import Figure

from casa_ddpm.dirty import DirtyImage
from casa_ddpm.matching import match

#: COSMOS, the field of the published protocol.
CENTRE = SkyCoord("10h00m28.6s", "+02d12m21s")
#: Imaging parameters that both tasks are given.
IMAGING = {
    "imsize": [512, 512],
    "cell": ["0.1arcsec"],
    "weighting": "natural",
    "gridder": "standard",
    "specmode": "mfs",
    "pbcor": True,
}
#: Largest distance of a match [arcsec].
RADIUS = 0.5


def sky(seed: int, n: int = 9) -> QTable:
    """A random sky: n sources, half of them Gaussians, 0.15 to 5 mJy, within the primary beam.

    Returns
    -------
    QTable
        name, ra, dec, flux, major, minor, pa, resolved, freq; brightest first.
    """
    rng = np.random.default_rng(seed)
    radius, angle = 11 * np.sqrt(rng.random(n)) * u.arcsec, rng.uniform(0, 360, n) * u.deg
    place = CENTRE.directional_offset_by(angle, radius)
    resolved = rng.random(n) < 0.5
    major = np.where(resolved, rng.uniform(0.4, 1.2, n), 0) * u.arcsec
    return QTable(
        {
            "name": [f"truth {i + 1}" for i in range(n)],
            "ra": place.ra,
            "dec": place.dec,
            "flux": np.geomspace(5, 0.15, n) * u.mJy,
            "major": major,
            "minor": major * rng.uniform(0.5, 1, n),
            "pa": rng.uniform(0, 180, n) * u.deg,
            "resolved": resolved,
            "freq": np.full(n, 230e9) * u.Hz,
        },
        meta={"RADESYS": "ICRS"},
    )


def run(out: str = "demo", seed: int = 1) -> int:
    """Simulate, image twice, compare.

    Parameters
    ----------
    out : str
        New folder; images, catalogue, pictures and the table are left there.
    seed : int
        Of the sky and of the noise.

    Returns
    -------
    int
        0.

    Raises
    ------
    ValueError
        If the seed is negative.
    FileExistsError
        If `out` exists and is not empty.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    folder = Path(out).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"out must be a new or empty folder, got {out!r}")
    folder.mkdir(parents=True, exist_ok=True)
    from casa_ddpm import casa, ddpmclean
    from casa_ddpm.casa import clean, simulation

    truth = sky(seed)
    casa.write_components(str(folder / "sky.cl"), truth)
    centre = "ICRS " + CENTRE.to_string("hmsdms", precision=6)
    print("simulating 20 minutes of ALMA, Cycle 5.3, 230 GHz ...")
    vis = simulation.observe(folder, "observation", "sky.cl", centre, seed=seed)
    truth.write(folder / "truth.ecsv")
    print("ddpmclean ...")
    done = ddpmclean(vis=str(vis), imagename=str(folder / "ddpmclean"), seed=seed, **IMAGING)
    noise = done["ddpm"]["noise"]
    print("tclean ...")
    clean.dirty(str(vis), str(folder / "tclean"), IMAGING)
    clean.clean(str(vis), str(folder / "tclean"), IMAGING)
    found = QTable.read(folder / "ddpmclean.cat.ecsv")
    cleaned = _peaks(folder / "tclean", noise)
    table = compare(truth, found[found["prob"] >= 0.9], cleaned)
    table.write(folder / "comparison.ecsv")
    _picture(folder)
    print(f"\nnoise {noise * 1e6:.1f} uJy/beam; fluxes in mJy, corrected for the primary beam\n")
    print("\n".join(table.pformat(max_lines=-1, max_width=-1)))
    print(f"\nimages, catalogue and pictures: {folder}")
    shutil.rmtree(folder / "observation" / f"{vis.stem[: -len('.noisy')]}.ms", ignore_errors=True)
    return 0


def _peaks(imagename: Path, noise: float) -> QTable:
    """Sources of a restored image: photutils segments above 4 times the noise, Kron fluxes."""
    from photutils.segmentation import SourceCatalog, SourceFinder

    from casa_ddpm import casa

    dirty = _dirty(imagename)
    restored = casa.read_plane(f"{imagename}.image")
    pixels_per_beam = dirty.beam.area(dirty.cell)
    finder = SourceFinder(int(pixels_per_beam / 4), progress_bar=False)
    segments = finder(restored, 4 * noise)
    if segments is None:
        return QTable({"ra": [] * u.deg, "dec": [] * u.deg, "flux": [] * u.Jy})
    sources = SourceCatalog(restored, segments, wcs=dirty.wcs)
    column, row = np.rint(sources.centroid).astype(int).T
    pb = casa.read_plane(f"{imagename}.pb")[row, column]
    # Where the primary beam ends there is noise, and no flux to correct.
    seen = pb > 0
    # A segment ends at the threshold and loses the wings; Kron's aperture takes them in.
    flux = np.asarray(sources.kron_flux)[seen] / pixels_per_beam / pb[seen] * u.Jy
    place = sources.sky_centroid.icrs[seen]
    return QTable({"ra": place.ra, "dec": place.dec, "flux": flux})


def _dirty(imagename: Path) -> DirtyImage:
    """The only plane of a run's dirty image or residual."""
    from casa_ddpm import casa

    (plane,) = casa.read_dirty(str(imagename))
    assert plane is not None
    return plane


def compare(truth: QTable, found: QTable, cleaned: QTable) -> Table:
    """The true sources beside what two methods found, unmatched detections at the end."""
    rows = {name: _match(truth, other) for name, other in (("ddpm", found), ("clean", cleaned))}
    table = Table()
    table["source"] = truth["name"]
    table["truth"] = truth["flux"].to_value(u.mJy).round(3)
    ours = rows["ddpm"]
    table["ddpmclean"] = [_cell(found["flux"], i) for i in ours]
    table["+/-"] = [_cell(found["flux_err"], i) for i in ours]
    table["prob"] = ["" if i < 0 else f"{found['prob'][i]:.2f}" for i in ours]
    table["tclean"] = [_cell(cleaned["flux"], i) for i in rows["clean"]]
    false = {"ddpm": len(found) - (ours >= 0).sum(), "clean": len(cleaned)}
    false["clean"] -= (rows["clean"] >= 0).sum()
    table.add_row(["not in truth", 0, str(false["ddpm"]), "", "", str(false["clean"])])
    return table


def _cell(flux: u.Quantity, i: int) -> str:
    return "" if i < 0 else f"{flux[i].to_value(u.mJy):.3f}"


def _match(truth: QTable, found: QTable) -> np.ndarray:
    """Row of `found` that belongs to each true source, -1 where none does."""
    index = np.full(len(truth), -1)
    if len(found):
        (x, y), (xt, yt) = (_offsets(table) for table in (found, truth))
        rows, true = match(x, y, xt, yt, RADIUS)
        index[true] = rows
    return index


def _offsets(table: QTable) -> tuple[np.ndarray, np.ndarray]:
    """Offsets from the field's centre [arcsec]."""
    place = SkyCoord(table["ra"], table["dec"])
    east, north = CENTRE.spherical_offsets_to(place)
    return east.to_value(u.arcsec), north.to_value(u.arcsec)


def _picture(folder: Path) -> None:
    """Restored images and residuals of both, each pair on one scale."""
    from casa_ddpm import casa

    dirty = _dirty(folder / "ddpmclean")
    panels = {
        "ddpmclean, restored": casa.read_plane(str(folder / "ddpmclean.image")),
        "tclean, restored": casa.read_plane(str(folder / "tclean.image")),
        "ddpmclean, residual": dirty.data,
        "tclean, residual": casa.read_plane(str(folder / "tclean.residual")),
    }
    half = dirty.cell * dirty.data.shape[1] / 2
    figure = Figure(figsize=(10, 9.4), layout="constrained")
    sigma = 1e6 * float(np.std(dirty.data))
    for axes, (title, image) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        shown = axes.imshow(
            image * 1e6, origin="lower", extent=(half, -half, -half, half), cmap="inferno",
            vmin=-3 * sigma, vmax=12 * sigma if "restored" in title else 4 * sigma,
        )  # fmt: skip
        axes.set(title=title, xlabel="RA offset [arcsec]", ylabel="Dec offset [arcsec]")
        figure.colorbar(shown, ax=axes, label="uJy/beam", shrink=0.85)
    figure.savefig(folder / "comparison.png", dpi=110)
