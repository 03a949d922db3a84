"""Checks of the regions that make a clean mask, before there is an image to lay them on."""

from __future__ import annotations

import os

from casatools import coordsys, regionmanager

#: What CASA says of a region that it can read, and that is not within the image.
OUTSIDE = "No regions found"


def check_regions(parameters: dict) -> None:
    """Check that CASA can read the regions of tclean's `mask`, in text and in files.

    Raises
    ------
    ValueError
        Naming the region and what is wrong with it.
    """
    masks = parameters["mask"] if isinstance(parameters["mask"], list) else [parameters["mask"]]
    for text in masks if parameters["usemask"] == "user" else ():
        if text and isinstance(text, str) and (reason := _wrong(text)):
            raise ValueError(
                f"mask must be an image, a region file or a region such as "
                f"'circle[[8pix,8pix],5pix]' that CASA can read, got {text!r}: {reason}"
            )


def why_empty(mask: str | list[str]) -> str:
    """Why a clean mask, whose regions CASA can read, holds no pixel."""
    masks = mask if isinstance(mask, list) else [mask]
    if all(_is_region_file(one) or not os.path.exists(one) for one in masks):
        return "lies outside of it"
    return "lies outside of it, or is neither a mask image nor a region file"


def _wrong(text: str) -> str:
    """What CASA finds wrong with a region, or '' if it can read it, or it is none."""
    regions, system = regionmanager(), coordsys()
    try:
        plane = system.newcoordsys(direction=True, stokes=["I"], spectral=True).torecord()
        if _is_region_file(text):
            regions.fromtextfile(text, [64, 64, 1, 1], plane)
        elif not os.path.exists(text) and "[" in text:
            regions.fromtext(text, [64, 64, 1, 1], plane)
    except RuntimeError as error:
        said = str(error).split("\n...")[0].removeprefix("Exception:").strip()
        return "" if OUTSIDE in said else said
    finally:
        regions.done()
        system.done()
    return ""


def _is_region_file(path: str) -> bool:
    """Whether a file has the head of CASA's region text format; there are older formats."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(5) == b"#CRTF"
