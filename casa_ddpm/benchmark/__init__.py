"""ddpmclean beside CLEAN, source finders and the matched filter, on the same fields.

`protocols` are laws of fields, `field` is one of them, `observation` makes it and has it
reconstructed, `rivals` are what others use. What they find are three tables (`tables`);
`metrics` makes figures of merit of them and `report` a page, files and pictures.
"""

from casa_ddpm.benchmark.command import add_arguments, run

__all__ = ["add_arguments", "run"]
