"""The CASA tasks of casa_ddpm."""

from .ddpmclean import ddpmclean

__all__ = ["ddpmclean"]
