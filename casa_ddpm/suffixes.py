"""Names of the products that ddpmclean adds to tclean's."""

from __future__ import annotations

#: In the order of docs. The catalogue is always among what is written.
OURS = (
    ".model.std", ".prob", ".samples", ".cl", ".cat.ecsv", ".cat.fits", ".crtf", ".reg", ".png",
)  # fmt: skip
CATALOGUE = ".cat.ecsv"
