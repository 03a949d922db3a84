"""``casa-ddpm benchmark``: ddpmclean beside what people use, on the same simulated fields."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from astropy.table import Table

from casa_ddpm import arguments, checkpoint, folders, measures
from casa_ddpm.benchmark import (
    detection,
    metrics,
    published,
    recorded,
    rivals,
    selection,
    tables,
    unfinished,
)
from casa_ddpm.benchmark.protocols import PROTOCOLS
from casa_ddpm.benchmark.report import Report, write
from casa_ddpm.benchmark.user import USER, Simulation
from casa_ddpm.benchmark.versions import versions
from casa_ddpm.options import Options
from casa_ddpm.posterior import Sampling

#: Fields of each protocol in the quick variant, which needs no CASA.
QUICK = {"independent": 8, "arrays": 5, "bright": 2, "extended": 3, "empty": 2}
#: Settings unless said otherwise; those that the quick variant's figures are recorded with.
SETTINGS = {"nsamples": 20, "nmajor": 2, "seed": 11, "npix": 160}
LEAST = {"nsamples": 1, "npix": 32, "fields": 0, "nmajor": 1, "seed": 0, "workers": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``casa-ddpm benchmark``."""
    parser.add_argument("--out", required=True, help="new folder of the report")
    parser.add_argument("--protocols", help=f"laws of the fields (default: {','.join(PROTOCOLS)})")
    parser.add_argument("--fields", type=int, default=0, help="of each protocol; 0: its own number")
    parser.add_argument(
        "--rivals", help="all, none or names (default: all on the route ms, which they need)"
    )
    parser.add_argument(
        "--route", choices=("ms", "image"),
        help="fields as MeasurementSets, for the task and its rivals; or as dirty images, "
        "without CASA, for the network and the peaks alone (default: ms; image with --quick)",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true",
        help="some minutes, without CASA; fails where the network is worse than recorded",
    )  # fmt: skip
    parser.add_argument(
        "--record", metavar="FILE", help="with --quick: record its figures there, compare nothing"
    )
    parser.add_argument(
        "--select", action="store_true",
        help="instead: what realisations, steps and aggregate give and cost, one varied at a time "
        f"(on the route image; default protocols: {','.join(selection.PROTOCOLS)}, "
        f"{selection.FIELDS} fields each)",
    )  # fmt: skip
    parser.add_argument("--network", default="default", help="shipped network or checkpoint")
    parser.add_argument("--nsamples", type=int, help="realisations (default: %(default)s)")
    parser.add_argument("--nmajor", type=int, help="most passes (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the fields (default: %(default)s)")
    parser.add_argument("--npix", "--imsize", type=int, help="image side (default: %(default)s)")
    parser.set_defaults(**SETTINGS)
    parser.add_argument(
        "--scale", type=float, default=0.0,
        help="pixels per beam (default: 4.25, without CASA 4)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: this one alone")
    published.add_arguments(parser)
    own = parser.add_argument_group("your own simulation, instead of the protocols")
    own.add_argument("--vis", help="MeasurementSet; needs --truth and --cell")
    own.add_argument(
        "--truth", help="table of ra, dec [deg], flux [Jy, apparent] and, where they are no "
        "points, major, minor [arcsec] and pa [deg]",
    )  # fmt: skip
    own.add_argument("--cell", help="pixel, such as 0.2arcsec")


def run(args: argparse.Namespace) -> int:
    """Measure, and write the report; returns 1 if the quick variant finds a network worse.

    Raises
    ------
    ValueError
        If a protocol, rival, network, number or a user's simulation is wrong.
    FileExistsError
        If the folder holds something, or a benchmark of other settings has begun it.
    """
    if published.asked(args):
        return published.run(args)
    _check(args)
    user, plan, chosen = _user(args), _plan(args), _rivals(args)
    out = folders.new(args.out)
    _, settings = checkpoint.load(args.network)
    sampling = Sampling(nsamples=args.nsamples, device=args.device)
    options = Options(network=args.network, nmajor=args.nmajor, sampling=sampling)
    if args.select:
        return _select(args, plan, options, settings, out)
    missing = {rival.name: why for rival in chosen if (why := rival.missing())}
    # The arguments are there without what reconstructs and draws, which takes long to import.
    from casa_ddpm.benchmark import campaign

    names = tuple(rival.name for rival in chosen if rival.name not in missing)
    account = _account(args, plan, settings)
    begun = account | {"rivals": names} | unfinished.circumstances(args.device, args.workers)
    begun |= {"content": user.content} if user else {}
    with unfinished.folder(out, begun) as kept:
        found = campaign.measure(
            campaign.Campaign(
                tuple(plan), options, _route(args), args.seed, args.npix, names, args.workers,
                user, args.scale, kept,
            )
        )  # fmt: skip
        page = partial(_report, kept, found, plan, account, missing)
        figures = unfinished.finish(kept, out, page)
    print(f"{len(plan)} fields; the report is {out / 'report.md'}")
    if args.record:
        recorded.write(args.record, args.network, figures)
        return 0
    return recorded.watch(args.network, figures) if args.quick else 0


def _report(
    kept: Path,
    found: tuple[Table, Table, Table],
    plan: list[tuple[str, int]],
    account: dict,
    missing: dict[str, str],
    folder: Path,
) -> metrics.Figures:
    """Write a report of the tables of truth, detections and images; returns its figures."""
    from casa_ddpm.benchmark import gallery, plots

    seed, defaults = account["seed"], {metrics.OURS: detection.CERTAIN}
    missing = missing | _failed(found[2])
    figures = metrics.figures(*found, seed, defaults)
    comparisons = metrics.comparisons(*found, metrics.OURS, seed, defaults)
    pictures = [*plots.write(folder, *found, figures), *gallery.write(folder, kept, plan)]
    write(folder, Report(*found, figures, comparisons, account, missing), pictures)
    return figures


def _failed(images: Table) -> dict[str, str]:
    """Method -> in how many fields it has failed, and what the first error was."""
    failed: dict[str, list[tables.Failure]] = {}
    for one in tables.failures(images):
        failed.setdefault(one.method, []).append(one)
    return {
        method: f"failed in {len(own)} field{'s' * (len(own) > 1)}, not counted there, first in "
        f"{own[0].where}: {own[0].error}"
        for method, own in failed.items()
    }


def _select(args, plan, options: Options, settings: checkpoint.Settings, out: Path) -> int:
    """Measure what realisations, steps and aggregate give; returns 0."""
    from casa_ddpm.benchmark import selection_page

    account = _account(args, plan, settings)
    curves = selection.curves(selection.Setting.of(options))
    begun = account | {"select": [one.name for one in selection.distinct(curves)]}
    begun |= unfinished.circumstances(args.device, args.workers)
    with unfinished.folder(out, begun) as kept:
        found = selection.measure(tuple(plan), options, args.seed, args.npix, args.workers, kept)
        page = partial(selection_page.write, selection=found, account=account)
        unfinished.finish(kept, out, page)
    print(f"{len(plan)} fields; the page is {out / selection_page.PAGE}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse wrong numbers, and options that exclude each other."""
    arguments.at_least(args, LEAST)
    if args.scale and not 2.5 <= args.scale <= 20:
        raise ValueError(f"scale must be from 2.5 to 20 pixels a beam, got {args.scale:g}")
    if args.record and not args.quick:
        raise ValueError(f"record must come with quick, got {args.record!r} alone")
    for option, others in (
        ("quick", ("vis", "protocols", "select", "scale", "fields")),
        ("select", ("vis", "scale")),
    ):
        if getattr(args, option):
            _exclude(args, option, others)
            if args.route == "ms":
                raise ValueError(f"route must be 'image' with {option}, got 'ms'")
    if args.quick:
        _check_recorded(args)
    route = _route(args)
    if route == "image" and args.rivals not in (None, "none"):
        raise ValueError(f"rivals must be 'none' with route 'image', got {args.rivals!r}")
    if route == "ms" and not measures.installed("casatasks"):
        raise ValueError("route must be 'image' where casatasks is not installed, got 'ms'")


def _check_recorded(args: argparse.Namespace) -> None:
    """Refuse settings that the recorded figures are not of."""
    for name, value in SETTINGS.items():
        if getattr(args, name) != value:
            raise ValueError(
                f"{name} must be {value} with quick, as for the recorded figures, "
                f"got {getattr(args, name)}"
            )


def _exclude(args: argparse.Namespace, option: str, names: Iterable[str]) -> None:
    """Refuse what would have no effect beside an option."""
    for name in names:
        if getattr(args, name):
            raise ValueError(f"{name} must not be given with {option}, got {getattr(args, name)!r}")


def _route(args: argparse.Namespace) -> str:
    """The route that is asked for, or the one that the other options need."""
    return args.route or ("image" if args.quick or args.select else "ms")


def _user(args: argparse.Namespace) -> Simulation | None:
    """The user's own simulation, where there is one."""
    if not args.vis:
        for name in ("truth", "cell"):
            if getattr(args, name):
                raise ValueError(f"{name} must come with vis, got {getattr(args, name)!r} alone")
        return None
    for name in ("truth", "cell"):
        if not getattr(args, name):
            raise ValueError(f"{name} must be given with vis, got vis={args.vis!r} alone")
    _exclude(args, "vis", ("protocols", "fields", "scale"))
    if _route(args) != "ms":
        raise ValueError(f"route must be 'ms' with vis, got {args.route!r}")
    return Simulation(args.vis, args.truth, args.cell, args.npix)


def _plan(args: argparse.Namespace) -> list[tuple[str, int]]:
    """Protocol and number of every field."""
    if args.vis:
        return [(USER, 0)]
    usual = selection.PROTOCOLS if args.select else tuple(PROTOCOLS)
    names = args.protocols.split(",") if args.protocols else list(usual)
    if unknown := [name for name in names if name not in PROTOCOLS]:
        raise ValueError(f"protocols must be of {list(PROTOCOLS)}, got {unknown}")
    numbers = {name: PROTOCOLS[name].fields for name in names}
    if args.quick:
        numbers = QUICK
    elif args.select:
        numbers = dict.fromkeys(names, selection.FIELDS)
    return [(name, k) for name, n in numbers.items() for k in range(args.fields or n)]


def _rivals(args: argparse.Namespace) -> list[rivals.Rival]:
    """The rivals that are asked for, installed or not."""
    known = {rival.name: rival for rival in rivals.RIVALS}
    asked = args.rivals or "all"
    names = {"all": list(known), "none": []}.get(asked, asked.split(","))
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"rivals must be all, none or of {list(known)}, got {unknown}")
    return [known[name] for name in names] if _route(args) == "ms" else []


def _account(args: argparse.Namespace, plan, settings: checkpoint.Settings) -> dict:
    """What the benchmark was run with."""
    names = dict.fromkeys(name for name, _ in plan)
    texts = {name: PROTOCOLS[name].text for name in names if name in PROTOCOLS}
    if args.vis:
        texts[USER] = f"{args.vis}, truth {args.truth}, cell {args.cell}"
    return {
        "network": checkpoint.digest(args.network),
        "step": settings.history.get("step"),
        "route": _route(args),
        "nsamples": args.nsamples,
        "nmajor": args.nmajor,
        "npix": args.npix,
        "scale": args.scale or "the route's",
        "seed": args.seed,
        "protocols": texts,
        "versions": versions(),
    }
