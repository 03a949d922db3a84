"""The least call of ddpmclean, which a test changes."""

from __future__ import annotations


def valid(**changes):
    """In the folder of the fixture `folder`."""
    return {"vis": "a.ms", "imagename": "out", "cell": "0.1arcsec"} | changes
