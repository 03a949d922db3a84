"""The published protocol: a network beside the published table, on fields that leak.

`command` takes the options, `measurement` reconstructs fields, `localisation` finds sources
in images, `figures` makes figures of merit of them and `page` a report.
See `casa_ddpm.published` for what leaks.
"""

from casa_ddpm.benchmark.published.command import NAME, add_arguments, asked, run

__all__ = ["NAME", "add_arguments", "asked", "run"]
