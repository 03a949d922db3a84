"""Numbers without a unit: counts, levels and the seed."""

from __future__ import annotations

from casa_ddpm.suffixes import MOST_TERMS

from .values import Values

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
#: What CASA's whole numbers hold.
LARGEST = 2**31 - 1
#: Beams over which CASA can smooth an image for its automatic mask in some reasonable time.
MOST_BEAMS = 100
#: Planes of w for which CASA can hold convolution functions; with many more it crashes.
MOST_PLANES = 4096


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


def terms_of_spectra(values: Values) -> None:
    """Have Taylor terms of the spectrum, as many as there are names for, of one image."""
    if values["specmode"] == "mvc" and (values["deconvolver"] != "mtmfs" or values["nterms"] < 2):
        raise ValueError(
            "specmode='mvc' must have deconvolver='mtmfs' and nterms from 2 on, got "
            f"deconvolver={values['deconvolver']!r} and nterms={values['nterms']}"
        )
    if values["deconvolver"] != "mtmfs":
        return
    if not 1 <= values["nterms"] <= MOST_TERMS:
        raise ValueError(
            f"nterms must be 1 to {MOST_TERMS} with deconvolver='mtmfs', got {values['nterms']}"
        )
    if values["specmode"] not in ("mfs", "cont", "mvc"):
        raise ValueError(
            "deconvolver='mtmfs' must have specmode='mfs' or 'mvc', as a channel has no spectrum, "
            f"got {values['specmode']!r}: use deconvolver='ddpm'"
        )


def some_pass(values: Values) -> None:
    """Have at least one pass of the network; niter=0 asks for none."""
    if values["nmajor"] == 0:
        raise ValueError("nmajor must be at least 1, or -1 for 10, got 0")


def minprob_is_probability(values: Values) -> None:
    """Keep minprob strictly between 0 and 1."""
    if not 0 < values["minprob"] < 1:
        raise ValueError(f"minprob must be between 0 and 1, got {values['minprob']}")


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
