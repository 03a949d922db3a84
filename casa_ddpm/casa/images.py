"""CASA images on disk: planes, headers, coordinates and history."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from casatasks import casalog
from casatasks.private.cleanhelper import write_task_history
from casatools import image, table

from casa_ddpm.casa.coordinates import ARCSEC_PER_RAD, celestial_wcs, frequency, square_cell
from casa_ddpm.dirty import Beam, DirtyImage

#: Suffixes of the products, tclean's first, in the order of docs.
SUFFIXES = (
    ".psf", ".pb", ".weight", ".sumwt", ".residual", ".model", ".image", ".image.pbcor", ".mask",
    ".model.std", ".prob", ".samples", ".cl", ".cat.ecsv", ".cat.fits", ".crtf", ".reg", ".png",
)  # fmt: skip


@contextmanager
def opened(path: str) -> Iterator[image]:
    """CASA's image tool on an image; edits leave no lines in its history."""
    tool = image()
    tool.dohistory(False)
    try:
        tool.open(path)
        yield tool
    finally:
        tool.done()


def log(message: str, priority: str = "INFO", origin: str = "ddpmclean") -> None:
    """Write a message to the CASA log.

    Parameters
    ----------
    message : str
    priority : {'DEBUG', 'INFO', 'WARN', 'SEVERE'}
    origin : str
        Who speaks, as the log's middle column shows it.
    """
    casalog.post(message, priority, origin)


def read_plane(path: str) -> np.ndarray:
    """The only plane of an image, shape (ny, nx), float32; pixels that are not numbers are 0."""
    with opened(path) as tool:
        return _plane(tool)


def write_plane(path: str, data: np.ndarray) -> None:
    """Replace the pixels of a one-plane image by `data`, shape (ny, nx)."""
    with opened(path) as tool:
        shape = tool.shape()
        _check_shape("data", data, shape)
        tool.putchunk(np.reshape(np.asarray(data, float).T, shape))


def read_dirty(imagename: str) -> DirtyImage:
    """The dirty image of the products .residual, .psf and, if there is one, .pb.

    Parameters
    ----------
    imagename : str
        Prefix of the products.

    Returns
    -------
    DirtyImage
        pb is 0 where CASA masks it.
    """
    pb = imagename + ".pb"
    with opened(imagename + ".psf") as tool:
        psf, beam = _plane(tool), read_beam(tool)
    if beam is None:
        raise ValueError(f"{imagename}.psf must have a restoring beam, CASA could not fit one")
    with opened(imagename + ".residual") as tool:
        data, record = _plane(tool), tool.coordsys().torecord()
    return DirtyImage(
        data=data,
        psf=psf,
        beam=beam,
        cell=square_cell(record),
        pb=_primary_beam(pb) if os.path.isdir(pb) else None,
        freq=frequency(record),
        wcs=celestial_wcs(record),
    )


def read_beam(tool: image) -> Beam | None:
    """Restoring beam of an open image; None where it has none."""
    beam = tool.restoringbeam()
    if "beams" in beam:
        beam = beam["beams"]["*0"]["*0"]
    if not beam:
        return None
    units = {"arcsec": 1.0, "arcmin": 60.0, "deg": 3600.0, "rad": ARCSEC_PER_RAD}
    major, minor = (beam[k]["value"] * units[beam[k]["unit"]] for k in ("major", "minor"))
    angle = beam["positionangle"]
    return Beam(major, minor, angle["value"] * units[angle["unit"]] / 3600)


def create(
    path: str,
    record: dict,
    pixels: np.ndarray,
    unit: str,
    mask: np.ndarray | None = None,
    beam: Beam | None = None,
    info: dict | None = None,
    objectname: str = "",
) -> None:
    """Write a new CASA image.

    Parameters
    ----------
    path : str
        New image; it must not exist.
    record : dict
        Its coordinate system.
    pixels : ndarray
        In the image's own axes (x, y, ...).
    unit : str
        Brightness unit, '' for none.
    mask : ndarray, optional
        True where good; becomes the default mask mask0.
    beam : Beam, optional
        Restoring beam for the header.
    info : dict, optional
        Miscellaneous keywords of the header.
    objectname : str
        Observed object.
    """
    if os.path.exists(path):
        raise FileExistsError(f"{path!r} exists and is not overwritten")
    tool = image()
    tool.dohistory(False)
    try:
        tool.fromarray(path, np.asarray(pixels, float), record, log=False)
        tool.setbrightnessunit(unit)
        tool.setmiscinfo(info or {})
        if mask is not None:
            tool.calcmask("T", name="mask0")
            tool.putregion(pixelmask=mask)
        if beam is not None:
            shape = f"{beam.major}arcsec", f"{beam.minor}arcsec", f"{beam.pa}deg"
            tool.setrestoringbeam(*shape, log=False)
    finally:
        tool.done()
    _put_keyword(path, "imageinfo", {"imagetype": "Intensity", "objectname": objectname})


def write_image(
    path: str,
    data: np.ndarray,
    template: str,
    unit: str,
    beam: Beam | None = None,
    masked: bool = True,
) -> None:
    """Write a plane as a CASA image with the axes, coordinates and mask of a template.

    Parameters
    ----------
    path : str
        New image; it must not exist.
    data : ndarray, shape (ny, nx)
    template : str
        One-plane CASA image of the same shape.
    unit : str
        Brightness unit, '' for none.
    beam : Beam, optional
        Restoring beam for the header.
    masked : bool
        Take over the template's mask, where it has one.
    """
    with opened(template) as source:
        record, shape, info = source.coordsys().torecord(), source.shape(), source.miscinfo()
        has_mask = masked and bool(source.maskhandler("default")[0])
        mask = source.getchunk(getmask=True) if has_mask else None
    _check_shape("data", data, shape)
    pixels = np.reshape(data.T, shape)
    create(path, record, pixels, unit, mask, beam, info, _objectname(template))


def write_samples(path: str, samples: np.ndarray, template: str) -> None:
    """Write realisations of the sky as one image with a last axis Realisation.

    Parameters
    ----------
    path : str
        New image; it must not exist.
    samples : ndarray, shape (n, ny, nx)
        Realisations [Jy/pixel].
    template : str
        One-plane CASA image of the same shape.
    """
    with opened(template) as source:
        csys, shape, info = source.coordsys(), source.shape(), source.miscinfo()
    _check_shape("samples", samples[0], shape)
    csys.addcoordinate(linear=1)
    csys.setnames("Realisation", type="linear")
    csys.setunits("", type="linear", overwrite=True)
    pixels = np.transpose(samples, (2, 1, 0)).reshape(*shape, -1)
    name = _objectname(template)
    create(path, csys.torecord(), pixels, "Jy/pixel", info=info, objectname=name)


def _objectname(path: str) -> str:
    """The observed object in an image's header, '' where there is none."""
    tool = table()
    tool.open(path)
    try:
        kept = tool.getkeyword("imageinfo") if "imageinfo" in tool.keywordnames() else {}
    finally:
        tool.done()
    return kept.get("objectname", "")


def _put_keyword(path: str, name: str, value: dict) -> None:
    """Add to a record in an image's keywords.

    The image tool writes imageinfo for an image with a beam only, and readers outside of
    CASA (spectral-cube) do not do without.
    """
    tool = table()
    tool.open(path, nomodify=False)
    try:
        kept = tool.getkeyword(name) if name in tool.keywordnames() else {}
        tool.putkeyword(name, kept | value)
    finally:
        tool.done()


def next_name(imagename: str) -> str:
    """The prefix that tclean's ``restart=False`` would take: the next number that is free.

    tclean's own code cuts the start off an absolute path.
    """
    folder, prefix = os.path.split(imagename)
    pattern = re.compile(re.escape(prefix) + r"(?:_(\d+))?\.(?:image|residual|model|psf|sumwt)")
    names = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    numbers = [int(found[1] or 1) for found in map(pattern.fullmatch, names) if found]
    return f"{imagename}_{max(numbers) + 1}" if numbers else imagename


def products(imagename: str) -> list[str]:
    """Which products of a prefix exist, as paths, in a fixed order."""
    return [imagename + suffix for suffix in SUFFIXES if os.path.exists(imagename + suffix)]


def write_history(imagename: str, products: list[str], task: str, parameters: dict) -> None:
    """Write the task and its parameters into the history of every image, as tclean does.

    Parameters
    ----------
    imagename : str
        Prefix of the products.
    products : list of str
        Paths; those that are not images of that prefix are passed over.
    task : str
        Name of the task.
    parameters : dict
        Its parameters and their values.
    """
    images = [path for path in products if path.startswith(imagename) and is_image(path)]
    write_task_history(images, task, list(parameters.items()), casalog)


def is_image(path: str) -> bool:
    """Whether a path is a CASA image."""
    try:
        with open(os.path.join(path, "table.info"), encoding="utf-8") as info:
            return info.readline().strip() == "Type = Image"
    except OSError:
        return False


def _plane(tool: image) -> np.ndarray:
    shape = [int(n) for n in tool.shape()]
    if len(shape) < 2 or any(n != 1 for n in shape[2:]):
        raise ValueError(f"{tool.name()} must have a single plane, got the shape {shape}")
    plane = np.asarray(tool.getchunk(), np.float32).reshape(shape[:2]).T
    return np.nan_to_num(plane, nan=0.0, posinf=0.0, neginf=0.0)


def _check_shape(name: str, plane: np.ndarray, shape: np.ndarray) -> None:
    """Check that a plane (ny, nx) fits a one-plane image of a shape (nx, ny, ...)."""
    if np.shape(plane) != (shape[1], shape[0]) or np.prod(shape[2:]) != 1:
        raise ValueError(
            f"{name} must have the image's shape {tuple(map(int, shape[:2]))[::-1]} and one "
            f"plane, got {np.shape(plane)} for an image of {list(map(int, shape))} pixels"
        )


def _primary_beam(path: str) -> np.ndarray:
    with opened(path) as tool:
        good = tool.getchunk(getmask=True)
        return np.where(good.reshape(good.shape[:2]).T, _plane(tool), np.float32(0))
