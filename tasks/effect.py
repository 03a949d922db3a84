"""Parameters that are accepted, so that a recipe runs unchanged, and have no effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import parameters

#: CLEAN's parameters, which recipes set and which change nothing here.
CLEAN_ONLY = frozenset(
    "niter deconvolver scales nterms smallscalebias fusedthreshold largestscale gain cycleniter"
    " cyclefactor minpsffraction maxpsffraction".split()
)

#: Parameters of the imaging of visibilities, which change nothing beside a dirty image.
VISIBILITIES_ONLY = frozenset(
    "selectdata field spw timerange uvrange antenna scan observation intent datacolumn imsize"
    " cell phasecenter stokes projection specmode reffreq nchan start width outframe veltype"
    " restfreq interpolation perchanweightdensity gridder facets psfphasecenter wprojplanes"
    " vptable mosweight aterm psterm wbawp conjbeams cfcache usepointing computepastep"
    " rotatepastep pointingoffsetsigdev normtype weighting robust noise npixels uvtaper"
    " savemodel calcres calcpsf usemask mask pbmask sidelobethreshold noisethreshold"
    " lownoisethreshold negativethreshold smoothfactor minbeamfrac cutthreshold growiterations"
    " dogrowprune minpercentchange verbose fastnoise parallel restoringbeam psfcutoff".split()
)


def ineffective(values: Mapping[str, Any]) -> list[str]:
    """Names of the parameters that were set, against their default, and change nothing.

    CLEAN's own parameters, and beside `dirtyimage` those of the imaging.

    Parameters
    ----------
    values : mapping
        Parameters by name, all or some.

    Returns
    -------
    list of str
        Their names, in the order of the task.
    """
    standard = parameters.defaults()
    changed = [n for n in standard if n in values and values[n] != standard[n]]
    idle = _idle(standard | dict(values))
    return [name for name in changed if name in idle]


def _idle(values: Mapping[str, Any]) -> frozenset[str]:
    """Names of the parameters whose value changes nothing, given all the others."""
    names = CLEAN_ONLY | VISIBILITIES_ONLY if values["dirtyimage"] else CLEAN_ONLY
    if values["deconvolver"] == "mtmfs":
        names -= {"deconvolver", "nterms"}
    # niter=0 asks for the dirty images
    return names - {"niter"} if values["niter"] == 0 else names
