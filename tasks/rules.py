"""What values of ddpmclean's parameters make sense, each alone and together.

Every rule is a function of all the values that raises a ValueError naming the
parameter, the value and the rule. `RULES` lists them in the order of the checks.
Nothing is written, and CASA is not needed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Values = Mapping[str, Any]

#: Whole numbers and the least they may be.
AT_LEAST = {
    "niter": -1,
    "nmajor": -1,
    "nsamples": 1,
    "nsteps": 2,
    "seed": 0,
    "batchsize": 0,
    "nchan": -1,
    "facets": 1,
    "wprojplanes": -1,
    "npixels": 0,
    "growiterations": 0,
}
#: Bytes of a product's name without its suffix, for which file systems leave 255 in all.
LONGEST = 230
#: What CASA's whole numbers hold.
LARGEST = 2**31 - 1

#: Stokes planes that are never negative on the sky, as the network's prior has it.
INTENSITIES = ("I", "pseudoI", "XX", "YY", "RR", "LL")

#: What is not supported yet: when, how it is called, and what to do instead.
NOT_YET: tuple[tuple[Callable[[Values], bool], str, str], ...] = (
    (
        lambda v: v["deconvolver"] == "mtmfs",
        "deconvolver='mtmfs'",
        "use deconvolver='ddpm', which makes one image of the whole band (nterms=1), named"
        " without .tt0",
    ),
    (
        lambda v: v["specmode"] == "mvc",
        "specmode='mvc'",
        "use specmode='mfs', which makes one image of the whole band, or 'cube'",
    ),
    (
        lambda v: v["stokes"] not in INTENSITIES,
        "stokes={stokes!r}",
        "use one of {intensities}, or tclean",
    ),
    (
        lambda v: v["gridder"] == "imagemosaic" and not v["dirtyimage"],
        "gridder='imagemosaic'",
        "use gridder='mosaic'",
    ),
    (
        lambda v: v["interactive"],
        "interactive=True",
        "use interactive=False",
    ),
    (
        lambda v: v["outlierfile"] != "",
        "outlierfile={outlierfile!r}",
        "use outlierfile='' and an image large enough for the outlying sources",
    ),
)

#: Beams over which CASA can smooth an image for its automatic mask in some reasonable time.
MOST_BEAMS = 100
#: Planes of w for which CASA can hold convolution functions; with many more it crashes.
MOST_PLANES = 4096
#: Images that a run writes at least: PSF, residual, model and image, with 4 bytes for a pixel.
IMAGES = 4
#: Pixels on a side that CASA's gridding function needs at least.
LEAST_SIZE = 10
#: What images may be normalised to; tclean's XML does not say, nor for the next three.
NORMTYPES = ("flatnoise", "flatsky", "pbsquare")
FRAMES = ("LSRK", "LSRD", "BARY", "GEO", "TOPO", "GALACTO", "LGROUP", "CMB", "REST", "SOURCE")
VELOCITIES = ("radio", "optical", "z", "ratio", "beta", "gamma", "relativistic", "true", "")
DATACOLUMNS = ("corrected", "data", "observed")

#: CLEAN's parameters, which recipes set and which change nothing here.
CLEAN_ONLY = frozenset(
    "niter deconvolver scales nterms smallscalebias fusedthreshold largestscale gain cycleniter"
    " cyclefactor minpsffraction maxpsffraction".split()
)

#: Parameters of the imaging of visibilities, which change nothing beside a dirty image.
VISIBILITIES_ONLY = frozenset(
    "selectdata field spw timerange uvrange antenna scan observation intent datacolumn imsize cell"
    " phasecenter projection reffreq nchan start width outframe veltype restfreq interpolation"
    " perchanweightdensity gridder facets psfphasecenter wprojplanes vptable mosweight aterm psterm"
    " wbawp conjbeams cfcache usepointing computepastep rotatepastep pointingoffsetsigdev normtype"
    " weighting robust noise npixels uvtaper savemodel calcres calcpsf usemask mask pbmask"
    " sidelobethreshold noisethreshold lownoisethreshold negativethreshold smoothfactor"
    " minbeamfrac cutthreshold growiterations dogrowprune minpercentchange verbose fastnoise"
    " parallel restoringbeam psfcutoff".split()
)

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*)\s*")
_PREFIX = "[yzafpnumcdhkMGTPEZY]?"
_ANGLE = re.compile(rf"""{_PREFIX}(arcsec|as|rad)|arcmin|deg|["']|""")
_FLUX = re.compile(rf"{_PREFIX}Jy(/beam)?|")
_NOISE = re.compile(rf"{_PREFIX}Jy")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
#: What the files are that a parameter names.
_FILES = {
    "startmodel": "an existing model image",
    "mask": "an existing image or region file, or be a region such as 'circle[[8pix,8pix],5pix]'",
    "vptable": "an existing table of voltage patterns",
}


def check(values: Values) -> None:
    """Raise a ValueError for the first rule that `values` break.

    Parameters
    ----------
    values : mapping
        Every parameter of ddpmclean by name, each of a right type.
    """
    for rule in RULES:
        rule(values)


def without_effect(values: Values) -> frozenset[str]:
    """Names of the parameters whose value changes nothing, given all the others.

    Parameters
    ----------
    values : mapping
        Every parameter of ddpmclean by name.
    """
    names = CLEAN_ONLY | VISIBILITIES_ONLY if values["dirtyimage"] else CLEAN_ONLY
    # niter=0 asks for the dirty images
    return names - {"niter"} if values["niter"] == 0 else names


def supported(values: Values) -> None:
    """Refuse what does not work yet, and say what does."""
    for applies, what, instead in NOT_YET:
        if applies(values):
            text = f"{what} is not supported yet: {instead}"
            raise ValueError(text.format(**values, intensities=", ".join(map(repr, INTENSITIES))))


def one_input(values: Values) -> None:
    """Take exactly one of visibilities and a dirty image."""
    vis, dirty = values["vis"], values["dirtyimage"]
    if vis in ("", [], [""]) and not dirty:
        raise ValueError("exactly one of vis and dirtyimage must be given, got neither")
    if vis not in ("", [], [""]) and dirty:
        raise ValueError(
            f"exactly one of vis and dirtyimage must be given, got vis={vis!r} and"
            f" dirtyimage={dirty!r}"
        )


def images_belong_to_dirtyimage(values: Values) -> None:
    """Take a PSF and a primary beam image beside a dirty image only."""
    for name in ("psfimage", "pbimage"):
        if values[name] and not values["dirtyimage"]:
            raise ValueError(
                f"{name} must be given beside dirtyimage only, got {name}={values[name]!r}"
                f" and dirtyimage=''"
            )


def measurement_sets_exist(values: Values) -> None:
    """Find a MeasurementSet behind every name in vis."""
    names = values["vis"] if isinstance(values["vis"], list) else [values["vis"]]
    for name in names if not values["dirtyimage"] else ():
        if not os.path.exists(name):
            raise ValueError(f"vis must name an existing MeasurementSet, got {name!r}: not found")
        if not _is_measurement_set(Path(name)):
            raise ValueError(
                f"vis must name a MeasurementSet, got {name!r}: not a CASA table of that type"
            )
    if len({os.path.realpath(name) for name in names}) < len(names):
        raise ValueError(f"vis must name every MeasurementSet once, got {names!r}")


def images_exist(values: Values) -> None:
    """Find the image files."""
    for name in ("dirtyimage", "psfimage", "pbimage"):
        if values[name] and not os.path.exists(values[name]):
            raise ValueError(
                f"{name} must name an existing CASA image or FITS file, got {values[name]!r}:"
                f" not found"
            )


def imagename_given(values: Values) -> None:
    """Have one name for the products."""
    name = values["imagename"]
    if not isinstance(name, str):
        raise ValueError(f"imagename must be one string, got {name!r}")
    base = os.path.basename(name.strip())
    if base in ("", ".", ".."):
        raise ValueError(f"imagename must be a name, not empty nor only a folder, got {name!r}")
    if "\0" in name or len(os.fsencode(base)) > LONGEST:
        raise ValueError(
            f"imagename must be a name of at most {LONGEST} bytes that a file can have,"
            f" got {name!r}"
        )


def images_fit(values: Values) -> None:
    """Have room for a plane's grid in memory and for the images on the disk, as CASA needs it."""
    sizes, place = _as_list(values["imsize"]), _folder(values["imagename"])
    if values["dirtyimage"] or not sizes or not place.is_dir():
        return
    grid = 8 * sizes[0] * sizes[-1] / 1e9
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    if grid > memory:
        raise ValueError(
            f"imsize must make planes that fit into memory, got {values['imsize']!r}: the grid of"
            f" one takes {grid:.3g} GB of {memory:.3g} GB"
        )
    needed = IMAGES * grid / 2 * max(1, values["nchan"])
    disk = shutil.disk_usage(place)
    free = disk.free / 1e9
    # some file systems do not say how large they are
    if disk.total and needed > free:
        raise ValueError(
            f"imsize and nchan must make images that fit on the disk, got {values['imsize']!r} and"
            f" {values['nchan']}: they take at least {needed:.3g} GB of {free:.3g} GB"
        )


def folder_writable(values: Values) -> None:
    """Be able to write into the folder of the products; as in tclean the last one is made."""
    place = _folder(values["imagename"])
    if not place.is_dir():
        why = f"{place} is not a folder" if place.exists() else f"there is no folder {place}"
    elif not os.access(place, os.W_OK | os.X_OK):
        why = f"{place} is not writable"
    else:
        return
    raise ValueError(
        f"imagename must lie in a folder that can be written, got {values['imagename']!r}: {why}"
    )


def whole_numbers(values: Values) -> None:
    """Keep counts and the seed above their least value."""
    for name, least in AT_LEAST.items():
        if values[name] < least:
            raise ValueError(f"{name} must be at least {least}, got {values[name]}")
    if values["seed"] >= 2**63:
        raise ValueError(f"seed must be below 2**63, got {values['seed']}")
    for name, minus in (
        ("nchan", "all channels of the data"),
        ("wprojplanes", "a choice of CASA's"),
    ):
        if values[name] == 0:
            raise ValueError(f"{name} must be at least 1, or -1 for {minus}, got 0")
    if values["wprojplanes"] > MOST_PLANES:
        raise ValueError(f"wprojplanes must be at most {MOST_PLANES}, got {values['wprojplanes']}")
    for name in ("nchan", "facets", "npixels", "growiterations"):
        if values[name] > LARGEST:
            raise ValueError(f"{name} must be at most {LARGEST}, got {values[name]}")


def some_pass(values: Values) -> None:
    """Have at least one pass of the network; niter=0 asks for none."""
    if values["nmajor"] == 0:
        raise ValueError("nmajor must be at least 1, or -1 for no limit, got 0")


def minprob_is_probability(values: Values) -> None:
    """Keep minprob strictly between 0 and 1."""
    if not 0 < values["minprob"] < 1:
        raise ValueError(f"minprob must be between 0 and 1, got {values['minprob']}")


def device_known(values: Values) -> None:
    """Know the kind of device."""
    if not _DEVICE.fullmatch(values["device"]):
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got {values['device']!r}"
        )


def imsize_positive(values: Values) -> None:
    """Have one or two positive numbers of pixels."""
    sizes = _as_list(values["imsize"])
    if len(sizes) not in (1, 2) or any(size < 1 for size in sizes):
        raise ValueError(
            f"imsize must be one or two positive numbers of pixels, got {values['imsize']!r}"
        )


def images_are_wide(values: Values) -> None:
    """Have more pixels on a side, and on a facet's, than CASA's gridding function has."""
    sizes = _as_list(values["imsize"])
    if not values["dirtyimage"] and sizes and min(sizes) < LEAST_SIZE * values["facets"]:
        raise ValueError(
            f"imsize must be at least {LEAST_SIZE} pixels for each of the facets={values['facets']}"
            f" on a side, got {values['imsize']!r}"
        )


def cell_positive(values: Values) -> None:
    """Have one or two positive angles; as in tclean there is no default."""
    cells = [c for c in _as_list(values["cell"]) if c != ""]
    if not cells and not values["dirtyimage"]:
        raise ValueError(
            f"cell must be given with vis, such as cell='0.1arcsec', got {values['cell']!r}"
        )
    if len(cells) > 2 or any(not _positive_angle(cell) for cell in cells):
        raise ValueError(
            "cell must be one or two positive angles such as '0.1arcsec', or numbers in arcsec,"
            f" got {values['cell']!r}"
        )


def threshold_is_flux(values: Values) -> None:
    """Have a flux density that is not negative."""
    threshold = values["threshold"]
    if threshold == "":
        return
    number, unit = _quantity(threshold)
    if number is None or number < 0 or not _FLUX.fullmatch(unit):
        raise ValueError(
            "threshold must be a number in Jy/beam or a quantity such as '0.1mJy', not negative,"
            f" got {threshold!r}"
        )


def not_negative(values: Values) -> None:
    """Keep the noise threshold from being negative."""
    if values["nsigma"] < 0:
        raise ValueError(f"nsigma must not be negative, got {values['nsigma']}")


def fractions_in_range(values: Values) -> None:
    """Keep levels of the PSF and of the primary beam where CASA neither crashes nor masks all."""
    if not 0.01 <= values["psfcutoff"] <= 0.99:
        raise ValueError(f"psfcutoff must be between 0.01 and 0.99, got {values['psfcutoff']}")
    if values["pblimit"] >= 1:
        raise ValueError(f"pblimit must be below 1, got {values['pblimit']}")
    if not 0 <= values["pbmask"] < 1:
        raise ValueError(f"pbmask must be at least 0 and below 1, got {values['pbmask']}")


def smoothing_in_range(values: Values) -> None:
    """Have a beam to smooth the automatic mask with, not so large that CASA does not end."""
    factor = values["smoothfactor"]
    if values["usemask"] == "auto-multithresh" and not 0 < factor <= MOST_BEAMS:
        raise ValueError(f"smoothfactor must be above 0 and at most {MOST_BEAMS}, got {factor}")


def normtype_known(values: Values) -> None:
    """Know the normalisation; CASA crashes on one that it does not know."""
    if values["normtype"] not in NORMTYPES:
        raise ValueError(
            f"normtype must be one of {', '.join(map(repr, NORMTYPES))}, got {values['normtype']!r}"
        )


def spectral_axis_known(values: Values) -> None:
    """Know the frame and the kind of velocity; CASA takes another kind for 'radio'."""
    if values["dirtyimage"]:
        return
    frame, kind = values["outframe"], values["veltype"]
    if frame and frame.upper() not in FRAMES:
        raise ValueError(f"outframe must be '' or one of {', '.join(FRAMES)}, got {frame!r}")
    if kind.lower() not in VELOCITIES:
        raise ValueError(f"veltype must be one of {', '.join(map(repr, VELOCITIES))}, got {kind!r}")


def datacolumn_known(values: Values) -> None:
    """Know the column of the data."""
    if not values["dirtyimage"] and values["datacolumn"] not in DATACOLUMNS:
        raise ValueError(
            f"datacolumn must be one of {', '.join(map(repr, DATACOLUMNS))},"
            f" got {values['datacolumn']!r}"
        )


def noise_is_flux(values: Values) -> None:
    """Have a noise above 0 for the weighting that takes it."""
    number, unit = _quantity(values["noise"])
    right = number is not None and number > 0 and _NOISE.fullmatch(unit)
    if values["weighting"] == "briggsabs" and not right and not values["dirtyimage"]:
        raise ValueError(
            "noise must be a flux density above 0 such as '1.0mJy' with weighting='briggsabs',"
            f" got {values['noise']!r}"
        )


def bandwidth_taper_of_channels(values: Values) -> None:
    """Have the channels that a bandwidth taper is for, and no npixels, as tclean does."""
    if values["weighting"] != "briggsbwtaper" or values["dirtyimage"]:
        return
    if values["specmode"] in ("mfs", "cont"):
        raise ValueError(
            "weighting must not be 'briggsbwtaper' with specmode='mfs': use 'briggs', or"
            " specmode='cube'"
        )
    if values["npixels"] != 0:
        raise ValueError(
            f"npixels must be 0 with weighting='briggsbwtaper', got {values['npixels']}"
        )


def named_files_exist(values: Values) -> None:
    """Find the start model, the user's masks and the voltage patterns; regions need no file."""
    masks = _as_list(values["mask"]) if values["usemask"] == "user" else []
    wanted = {"startmodel": _as_list(values["startmodel"])}
    if not values["dirtyimage"]:
        wanted["mask"] = [name for name in masks if "[" not in name]
        wanted["vptable"] = [values["vptable"]]
    for parameter, names in wanted.items():
        for name in filter(lambda n: n not in ("", []), names):
            if not os.path.exists(str(name)):
                raise ValueError(
                    f"{parameter} must name {_FILES[parameter]}, got {name!r}: not found"
                )


RULES: tuple[Callable[[Values], None], ...] = (
    one_input,
    images_belong_to_dirtyimage,
    imagename_given,
    supported,
    whole_numbers,
    some_pass,
    minprob_is_probability,
    device_known,
    imsize_positive,
    images_are_wide,
    cell_positive,
    fractions_in_range,
    smoothing_in_range,
    normtype_known,
    spectral_axis_known,
    datacolumn_known,
    noise_is_flux,
    bandwidth_taper_of_channels,
    threshold_is_flux,
    not_negative,
    measurement_sets_exist,
    images_exist,
    named_files_exist,
    folder_writable,
    images_fit,
)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _folder(imagename: Any) -> Path:
    """Where the products go: their folder, or the one that it is made in."""
    folder = Path(imagename if isinstance(imagename, str) else "").absolute().parent
    return folder if folder.exists() else folder.parent


def _quantity(value: Any) -> tuple[float | None, str]:
    """Number and unit of '0.1arcsec' or 0.1; no number where it cannot be read."""
    match = _QUANTITY.fullmatch(str(value)) if not isinstance(value, bool) else None
    return (float(match[1]), match[2]) if match else (None, "")


def _positive_angle(value: Any) -> bool:
    number, unit = _quantity(value)
    # CASA takes a number for arcsec, and text without a unit for nothing at all
    known = _ANGLE.fullmatch(unit) and (unit or not isinstance(value, str))
    return number is not None and number > 0 and bool(known)


def _is_measurement_set(path: Path) -> bool:
    """Whether `path` is a CASA table, and of that type where the table says its type."""
    if not (path / "table.dat").is_file():
        return False
    info = path / "table.info"
    return not info.is_file() or "Measurement Set" in info.read_text(errors="replace")
