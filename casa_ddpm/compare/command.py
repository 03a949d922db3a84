"""``casa-ddpm compare``: two runs, images or lists of sources, side by side."""

from __future__ import annotations

import argparse
import json

from astropy import units as u

from casa_ddpm import folders
from casa_ddpm.dirty import Beam

PAGE, FIGURES, SOURCES = "comparison.md", "comparison.json", "sources.ecsv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``casa-ddpm compare``."""
    for name in ("a", "b"):
        parser.add_argument(
            name, metavar=name.upper(),
            help="image name of ddpmclean or tclean, an image (CASA or FITS), or a list of sources "
            "(.cat.ecsv, .cat.fits, .cl, any table of ra, dec, flux that astropy reads)",
        )  # fmt: skip
    parser.add_argument(
        "--truth", help="table of ra, dec [deg], flux [Jy] and, where they are no points, major, "
        "minor [arcsec] and pa [deg]",
    )  # fmt: skip
    parser.add_argument("--out", help="new folder of the page, figures, sources and pictures")
    parser.add_argument(
        "--apparent", action="store_true",
        help="fluxes as attenuated by the primary beam, the truth's too (default: corrected)",
    )  # fmt: skip
    parser.add_argument(
        "--minprob", type=float, default=0.9,
        help="probability from which a source with one counts (default: 0.9)",
    )  # fmt: skip
    parser.add_argument("--beam", help="clean beam, such as 0.8arcsec, where none is known")
    parser.add_argument("--noise", type=float, help="rms [Jy/beam], where none is known")


def run(args: argparse.Namespace) -> int:
    """Compare, print the page, and write it and its pictures if a folder is given; returns 0.

    Raises
    ------
    ValueError
        If a product, the truth or a number is wrong, or images do not lie on one grid.
    FileExistsError
        If the folder holds something.
    """
    beam = _check(args)
    out = None if args.out is None else folders.new(args.out)
    # The arguments are there without what reads and draws, which takes long to import.
    from casa_ddpm.benchmark import truth
    from casa_ddpm.compare import comparison, page, plot, products

    known = None if args.truth is None else truth.read(args.truth)
    a, b = (products.read(getattr(args, n), args.apparent, n.upper()) for n in ("a", "b"))
    found = comparison.compare(a, b, known, args.minprob, beam, args.noise)
    text = page.markdown(found)
    print(text)
    if out is not None:
        figures = json.dumps(comparison.plain(found), indent=1, allow_nan=False)
        out.mkdir(parents=True, exist_ok=True)
        pictures = plot.write(out, found)
        shown = "".join(f"\n![{name}]({name})\n" for name in pictures)
        (out / PAGE).write_text(text + shown, encoding="utf-8")
        (out / FIGURES).write_text(figures + "\n", encoding="utf-8")
        found.match.table().write(out / SOURCES, format="ascii.ecsv")
        print(f"the comparison is {out / PAGE}")
    return 0


def _check(args: argparse.Namespace) -> Beam | None:
    """Refuse wrong numbers; the beam that is given."""
    if not 0 <= args.minprob <= 1:
        raise ValueError(f"minprob must be within 0 and 1, got {args.minprob}")
    if args.noise is not None and not args.noise > 0:
        raise ValueError(f"noise must be positive [Jy/beam], got {args.noise}")
    if args.beam is None:
        return None
    try:
        fwhm = u.Quantity(args.beam).to_value(u.arcsec)
    except (TypeError, ValueError) as error:
        message = f"beam must be an angle such as '0.8arcsec', got {args.beam!r}"
        raise ValueError(message) from error
    if not fwhm > 0:
        raise ValueError(f"beam must be positive, got {args.beam!r}")
    return Beam(fwhm, fwhm, 0.0)
