"""Two runs, images or lists of sources, side by side.

`products` finds what lies under a name and `source_list` reads any list of sources;
`crossmatch` and `difference` say what differs, `scoring` sets it beside the truth.
`comparison` is all of it, which `page` and `plot` show.
"""

from casa_ddpm.compare.command import add_arguments, run

__all__ = ["add_arguments", "run"]
