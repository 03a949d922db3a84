"""Measures data for CASA: offline, from the casadata package, where the user has set nothing.

casatools refuses to import where it finds no IERS and leap-second tables. By default it
looks in ``~/.casa/data`` and asks the network to fill that folder. The casadata package
holds the same tables; this module points CASA at them before casatools is imported.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

#: Table without which casatools does not import.
ESSENTIAL = Path("geodetic") / "IERSeop2000"


def configure() -> str:
    """Point CASA at the measures data of an installed casadata package.

    Nothing changes where the user has configured CASA (a configuration file
    that casaconfig read, or another `measurespath` or `datapath` than its
    defaults), where measures data lie at the default place already, where
    casadata is not installed, or once casatools is imported. Call it before the
    first import of casatools; calling it again does no harm.

    Returns
    -------
    str
        The folder in which CASA looks for its measures data, '' where none is
        set or CASA is not installed.
    """
    config = casa_config()
    if config is None:
        return ""
    data = casadata_path()
    if data and not user_configured() and not has_measures(config.measurespath):
        config.measurespath = data
        config.datapath = [data]
        # The package belongs to pip, so CASA must not try to update it.
        config.measures_auto_update = config.data_auto_update = False
    return config.measurespath or ""


def user_configured() -> bool:
    """Whether the user (or the site) has told CASA where its data are."""
    config = casa_config()
    if config is None:
        return False
    if len(config.load_success()) > 1 or config.load_failure() or "casatools" in sys.modules:
        return True
    default = os.path.abspath(os.path.expanduser(config._config_defaults.measurespath or ""))
    return config.measurespath != default or config.datapath not in ([], [default])


def has_measures(folder: str | None) -> bool:
    """Whether `folder` holds the tables without which casatools does not import."""
    return folder is not None and (Path(folder) / ESSENTIAL).is_dir()


def casadata_path() -> str:
    """Data folder of the casadata package, '' where it is not installed."""
    for package in _folders("casadata"):
        if has_measures(os.path.join(package, "__data__")):
            return os.path.join(package, "__data__")
    return ""


def installed(package: str) -> bool:
    """Whether a package is installed; it is not imported."""
    return bool(_folders(package))


def _folders(package: str) -> list[str]:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    return list(spec.submodule_search_locations or ()) if spec else []


def casa_config():
    """CASA's configuration, casaconfig.config, or None where CASA is not installed."""
    if "casaconfig.config" in sys.modules:
        return sys.modules["casaconfig.config"]
    if not installed("casaconfig"):
        return None
    argv, sys.argv = sys.argv, casa_arguments(sys.argv)
    try:
        from casaconfig import config
    finally:
        sys.argv = argv
    return config


def casa_arguments(argv: list[str]) -> list[str]:
    """The part of a command line that is meant for casaconfig.

    On import casaconfig parses the process's arguments and takes abbreviations
    as well: pytest's ``--co`` makes it exit, and ``--config=FILE`` makes it run
    FILE as Python. Only its own options, spelt in full, pass.

    Parameters
    ----------
    argv : list of str
        A command line, the program's name first.

    Returns
    -------
    list of str
        The program's name and casaconfig's options with their values.
    """
    kept = argv[:1]
    for position, word in enumerate(argv[1:], start=1):
        if word in ("--noconfig", "--nositeconfig") or word.startswith("--configfile="):
            kept.append(word)
        elif word == "--configfile" and position + 1 < len(argv):
            kept += [word, argv[position + 1]]
    return kept
