"""The files that are read: visibilities, images, masks."""

from __future__ import annotations

import os
from pathlib import Path

from casa_ddpm.suffixes import OURS

from .values import Values, as_list

#: What the files are that a parameter names.
_FILES = {
    "startmodel": "an existing model image",
    "mask": "an existing image or region file, or be a region such as 'circle[[8pix,8pix],5pix]'",
    "vptable": "an existing table of voltage patterns",
}
_WHERE = "the pixel mask of dirtyimage says where there is an image"
#: Values beside `dirtyimage` of parameters that would change more than the imaging, and what to do.
_NOT_OF_IMAGES = {
    "usemask": (("user",), _WHERE),
    "mask": (("", [], [""]), _WHERE),
    "restoringbeam": (("", [], [""], "common", ["common"]), "smooth the .image that is written"),
}


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
    names = as_list(values["vis"])
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


def named_files_exist(values: Values) -> None:
    """Find the start model, the user's masks and the voltage patterns; regions need no file."""
    masks = as_list(values["mask"]) if values["usemask"] == "user" else []
    wanted = {"startmodel": as_list(values["startmodel"])}
    if not values["dirtyimage"]:
        wanted["mask"] = [name for name in masks if "[" not in name]
        wanted["vptable"] = [values["vptable"]]
    for parameter, names in wanted.items():
        for name in filter(lambda n: n not in ("", []), names):
            if not os.path.exists(str(name)):
                raise ValueError(
                    f"{parameter} must name {_FILES[parameter]}, got {name!r}: not found"
                )


def products_replace_no_input(values: Values) -> None:
    """Keep a mask or model that has the name of a product of ours."""
    name = values["imagename"]
    if not isinstance(name, str) or values["niter"] == 0:
        return
    products = {os.path.realpath(name + suffix) for suffix in OURS}
    for parameter in ("mask", "startmodel"):
        for path in as_list(values[parameter]):
            if isinstance(path, str) and path and os.path.realpath(path) in products:
                raise ValueError(
                    f"{parameter} must not be a file that the products of imagename={name!r}"
                    f" replace, got {path!r}: move it, or take another imagename"
                )


def models_can_be_saved(values: Values) -> None:
    """Be able to write the model into the visibilities, where that is asked for."""
    names = as_list(values["vis"])
    for path in names if values["savemodel"] != "none" and not values["dirtyimage"] else ():
        for file in (path, os.path.join(path, "table.dat")):
            if os.path.exists(file) and not os.access(file, os.W_OK):
                raise ValueError(
                    f"savemodel={values['savemodel']!r} must have a MeasurementSet that can be"
                    f" written, got vis={path!r}: {file} is not writable"
                )


def nothing_asked_for_is_dropped(values: Values) -> None:
    """Refuse beside a dirty image what shapes the products and what it cannot have."""
    if not values["dirtyimage"]:
        return
    if len(as_list(values["startmodel"])) > 1:
        raise ValueError(
            f"startmodel must be one image beside dirtyimage, got {values['startmodel']!r}"
        )
    for parameter, (plain, instead) in _NOT_OF_IMAGES.items():
        if values[parameter] not in plain:
            raise ValueError(
                f"{parameter} must be {plain[0]!r} beside dirtyimage, got {values[parameter]!r}:"
                f" {instead}"
            )


def _is_measurement_set(path: Path) -> bool:
    """Whether `path` is a CASA table, and of that type where the table says its type."""
    if not (path / "table.dat").is_file():
        return False
    info = path / "table.info"
    return not info.is_file() or "Measurement Set" in info.read_text(errors="replace")
