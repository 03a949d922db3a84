"""Radio-interferometric images with error bars, by conditional diffusion, for CASA.

The CASA task and the array-level entry point are imported on first use, so that
``import casa_ddpm`` needs neither CASA nor torch. In CASA's shell the import makes
ddpmclean one of its tasks.
"""

import sys
from importlib import import_module

__version__ = "0.1.0"

__all__ = ["DirtyImage", "ddpmclean", "reconstruct"]

_HOME = {
    "DirtyImage": "casa_ddpm.dirty",
    "ddpmclean": "casa_ddpm.tasks.ddpmclean",
    "reconstruct": "casa_ddpm.reconstruction",
}


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'casa_ddpm' has no attribute {name!r}")
    if name == "ddpmclean":
        # What a script imports of CASA after it finds its measures data as well.
        import_module("casa_ddpm.measures").configure()
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__ + ["__version__"])


if "casashell" in sys.modules:
    import_module("casa_ddpm.tasks.session").offer(__getattr__("ddpmclean"))
