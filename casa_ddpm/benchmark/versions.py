"""Which versions of the packages that figures depend on are installed."""

from __future__ import annotations

import importlib.metadata

PACKAGES = (
    "casa-ddpm", "torch", "casatasks", "bdsf", "AegeanTools", "photutils", "scikit-image",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Version of each of PACKAGES that is installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
