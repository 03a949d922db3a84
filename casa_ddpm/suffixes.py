"""Names of the products that ddpmclean adds to tclean's."""

from __future__ import annotations

#: In the order of docs. The catalogue is always among what is written.
OURS = (
    ".model.std", ".prob", ".samples", ".cl", ".cat.ecsv", ".cat.fits", ".crtf", ".reg", ".png",
)  # fmt: skip
CATALOGUE = ".cat.ecsv"
#: Most Taylor terms of a spectrum.
MOST_TERMS = 5
#: What tclean makes of these beside their images.
SPECTRA = (".alpha", ".alpha.error", ".beta")


def each_term(*suffixes: str) -> tuple[str, ...]:
    """Suffixes, by themselves and with the end that tclean gives each Taylor term's image."""
    ends = ("", *(f".tt{term}" for term in range(2 * MOST_TERMS - 1)))
    return tuple(suffix + end for suffix in suffixes for end in ends)
