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

from casa_ddpm.casa.coordinates import ARCSEC_PER_RAD, equatorial_wcs, frequency, square_cell
from casa_ddpm.dirty import Beam, DirtyImage
from casa_ddpm.suffixes import OURS, SPECTRA, each_term

_RESTORED = (*each_term(".image"), *SPECTRA)
#: Suffixes of the products, tclean's first, in the order of docs.
SUFFIXES = (
    *each_term(".psf", ".pb", ".weight", ".sumwt", ".residual", ".model"),
    *_RESTORED, *(f"{suffix}.pbcor" for suffix in _RESTORED), ".mask", *OURS,
)  # fmt: skip
#: Names of the frames of frequencies by their numbers (casacore's MFrequency::Types).
_FRAMES = dict(enumerate("REST LSRK LSRD BARY GEO TOPO GALACTO LGROUP CMB".split()))
#: By which tclean tells that a name is taken, and this task as well.
_TAKEN = (*each_term(".image", ".residual", ".model", ".psf", ".sumwt"), ".unfinished", *OURS)


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
    planes = read_planes(path)
    if len(planes) != 1:
        raise ValueError(f"{path} must have a single plane, got {len(planes)}")
    return planes[0]


def read_planes(path: str) -> np.ndarray:
    """All planes of an image, shape (nplane, ny, nx), float32; what is not a number is 0."""
    with opened(path) as tool:
        return _planes(tool)


def write_planes(path: str, data: np.ndarray) -> None:
    """Replace the pixels of an image by `data`, shape (nplane, ny, nx)."""
    with opened(path) as tool:
        tool.putchunk(_pixels("data", data, tool.shape()))


def read_dirty(imagename: str, end: str = "") -> list[DirtyImage | None]:
    """The dirty images of the products .residual, .psf and, if there is one, .pb.

    Parameters
    ----------
    imagename : str
        Prefix of the products.
    end : str
        How their names end, ".tt0" for those of the first Taylor term.

    Returns
    -------
    list of DirtyImage
        One for each channel, None where it has no data. pb is NaN where CASA masks the image, which
        pblimit < 0 has it not do, and 0 where it masks the beam.
    """
    psf, residual, pb = (imagename + suffix + end for suffix in (".psf", ".residual", ".pb"))
    with opened(psf) as tool:
        psfs, beams = _planes(tool), read_beams(tool)
    with opened(residual) as tool:
        data, imaged, record = _planes(tool), _mask(tool), tool.coordsys().torecord()
    primary = _primary_beams(pb, imaged) if os.path.isdir(pb) else [_flat(one) for one in imaged]
    wcs, cell = equatorial_wcs(record), square_cell(record)
    if psfs[0].any() and len(psfs) == 1 and beams[0] is None:
        raise ValueError(f"{psf} must have a restoring beam, CASA could not fit one")
    return [
        DirtyImage(
            data=data[k],
            psf=psfs[k],
            beam=beam,
            cell=cell,
            pb=primary[k],
            freq=frequency(record, k),
            wcs=wcs,
        )
        if beam is not None and psfs[k].any()
        else None
        for k, beam in enumerate(beams)
    ]


def spectral_frame(path: str, vis: str | list[str] = "") -> str:
    """CASA's name of the reference frame of an image's frequencies.

    Parameters
    ----------
    path : str
        CASA image.
    vis : str or list of str
        Its MeasurementSets: an image of their own channels (cubedata) has their frame, and
        does not say so.
    """
    with opened(path) as tool:
        name = tool.coordsys().referencecode("spectral")[0]
    if name != "Undefined":
        return name
    for one in [vis] if isinstance(vis, str) else vis:
        if os.path.isdir(f"{one}/SPECTRAL_WINDOW"):
            windows = table()
            windows.open(f"{one}/SPECTRAL_WINDOW")
            code = int(windows.getcell("MEAS_FREQ_REF", 0))
            windows.done()
            return _FRAMES.get(code, "LSRK")
    return "LSRK"


def _flat(imaged: np.ndarray) -> np.ndarray | None:
    """A primary beam of 1 where there is an image, NaN elsewhere; None where it is everywhere."""
    return None if imaged.all() else np.where(imaged, 1, np.nan)


def read_beams(tool: image) -> list[Beam | None]:
    """Restoring beams of an open image's planes; None where there is none."""
    nplane = int(np.prod(tool.shape()[2:]))
    beam = tool.restoringbeam()
    if "beams" not in beam:
        return [_beam(beam)] * nplane
    by_channel = beam["beams"]
    return [_beam(by_channel[f"*{k}"]["*0"]) for k in range(beam["nChannels"])]


def _beam(record: dict) -> Beam | None:
    if not record or not record["major"]["value"] > 0:
        return None
    units = {"arcsec": 1.0, "arcmin": 60.0, "deg": 3600.0, "rad": ARCSEC_PER_RAD}
    major, minor = (record[k]["value"] * units[record[k]["unit"]] for k in ("major", "minor"))
    angle = record["positionangle"]
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
    """Write a CASA image with the axes, coordinates and mask of a template.

    Parameters
    ----------
    path : str
        New image; it must not exist.
    data : ndarray, shape (nplane, ny, nx)
    template : str
        CASA image of the same shape.
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
    pixels = _pixels("data", data, shape)
    create(path, record, pixels, unit, mask, beam, info, _objectname(template))


def write_samples(path: str, samples: np.ndarray, template: str) -> None:
    """Write realisations of the sky as one image with a last axis Realisation.

    Parameters
    ----------
    path : str
        New image; it must not exist.
    samples : ndarray, shape (nsample, nplane, ny, nx)
        Realisations [Jy/pixel].
    template : str
        CASA image of the same shape (nplane, ny, nx).
    """
    with opened(template) as source:
        csys, shape, info = source.coordsys(), source.shape(), source.miscinfo()
    csys.addcoordinate(linear=1)
    csys.setnames("Realisation", type="linear")
    csys.setunits("", type="linear", overwrite=True)
    pixels = np.stack([_pixels("samples", sample, shape) for sample in samples], -1)
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
    taken = rf"(?:_(\d+))?(?:{'|'.join(map(re.escape, _TAKEN))})"
    pattern = re.compile(re.escape(prefix) + taken)
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


def _planes(tool: image) -> np.ndarray:
    pixels = np.asarray(tool.getchunk(), np.float32)
    planes = pixels.reshape(*pixels.shape[:2], -1, order="F").T
    return np.nan_to_num(planes, nan=0.0, posinf=0.0, neginf=0.0)


def _pixels(name: str, planes: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Planes (nplane, ny, nx) in the axes of an image of a shape (nx, ny, ...)."""
    expected = (int(np.prod(shape[2:])), int(shape[1]), int(shape[0]))
    if np.shape(planes) != expected:
        raise ValueError(
            f"{name} must have the image's shape (nplane, ny, nx) {expected}, "
            f"got {np.shape(planes)}"
        )
    return np.asarray(planes, float).T.reshape(shape, order="F")


def _mask(tool: image) -> np.ndarray:
    """Where the image is good, bool of shape (nplane, ny, nx)."""
    good = tool.getchunk(getmask=True)
    return good.reshape(*good.shape[:2], -1, order="F").T


def _primary_beams(path: str, imaged: np.ndarray) -> list[np.ndarray | None]:
    """The primary beam of each plane; NaN where there is no image."""
    with opened(path) as tool:
        beams = np.where(_mask(tool), _planes(tool), np.float32(0))
    # pblimit=-1 has CASA write a primary beam of zeros: none
    return [
        np.where(good, beam, np.float32(np.nan)) if beam.any() else None
        for beam, good in zip(beams, imaged, strict=True)
    ]
