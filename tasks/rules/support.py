"""What is not supported yet."""

from __future__ import annotations

from collections.abc import Callable

from .values import Values

#: Stokes planes that are never negative on the sky, as the network's prior has it.
INTENSITIES = ("I", "pseudoI", "XX", "YY", "RR", "LL")

#: What is not supported yet: when, how it is called, and what to do instead.
NOT_YET: tuple[tuple[Callable[[Values], bool], str, str], ...] = (
    (
        lambda v: v["deconvolver"] == "mtmfs" and v["dirtyimage"],
        "deconvolver='mtmfs' with dirtyimage",
        "use vis, whose Taylor terms are imaged, or deconvolver='ddpm'",
    ),
    (
        lambda v: (
            v["deconvolver"] == "mtmfs" and v["psfphasecenter"] != "" and "mosaic" in v["gridder"]
        ),
        "deconvolver='mtmfs' with psfphasecenter={psfphasecenter!r}",
        "use psfphasecenter=''",
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
        lambda v: (
            v["normtype"] in ("flatsky", "pbsquare")
            and ("mosaic" in v["gridder"] or v["gridder"].startswith("awp"))
            and v["niter"] != 0
            and not v["dirtyimage"]
        ),
        "normtype={normtype!r} with gridder={gridder!r}",
        "use normtype='flatnoise', whose .image.pbcor (pbcor=True) is the flat sky",
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


def supported(values: Values) -> None:
    """Refuse what does not work yet, and say what does."""
    for applies, what, instead in NOT_YET:
        if applies(values):
            text = f"{what} is not supported yet: {instead}"
            raise ValueError(text.format(**values, intensities=", ".join(map(repr, INTENSITIES))))
