"""The only part of the package that uses CASA (casatools, casatasks).

Importing it imports CASA, after `casa_ddpm.measures.configure` has made sure that
CASA finds its measures data. As with casatasks itself, CASA's log file appears in
the current folder then.
"""

from casa_ddpm import measures

measures.configure()

# casatools reads its configuration on import, hence the order.
from casa_ddpm.casa.components import read_components, write_components  # noqa: E402
from casa_ddpm.casa.image_imager import ImageImager  # noqa: E402
from casa_ddpm.casa.imager import VisibilityImager  # noqa: E402
from casa_ddpm.casa.images import (  # noqa: E402
    log,
    next_name,
    products,
    read_dirty,
    read_plane,
    read_planes,
    spectral_frame,
    write_history,
    write_image,
    write_samples,
)
from casa_ddpm.casa.journal import unfinished  # noqa: E402
from casa_ddpm.casa.parameters import tclean_defaults  # noqa: E402
from casa_ddpm.casa.visibilities import check_data  # noqa: E402

__all__ = [
    "ImageImager",
    "VisibilityImager",
    "check_data",
    "log",
    "next_name",
    "products",
    "read_components",
    "read_dirty",
    "read_plane",
    "read_planes",
    "spectral_frame",
    "tclean_defaults",
    "unfinished",
    "write_components",
    "write_history",
    "write_image",
    "write_samples",
]
