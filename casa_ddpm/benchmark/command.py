"""``casa-ddpm benchmark``: ddpmclean beside what people use, on the same simulated fields."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from casa_ddpm import checkpoint, measures
from casa_ddpm.benchmark import metrics, published, rivals
from casa_ddpm.benchmark.legend import entry
from casa_ddpm.benchmark.protocols import PROTOCOLS
from casa_ddpm.benchmark.report import Report, write
from casa_ddpm.benchmark.user import USER, Simulation
from casa_ddpm.options import Options
from casa_ddpm.posterior import Sampling

#: Fields of each protocol in the quick variant, which needs no CASA.
QUICK = {"independent": 8, "arrays": 5, "bright": 2, "extended": 3, "empty": 2}
#: Figures that the quick variant watches, and by how much of the recorded interval's
#: half width they may be worse; other processors round otherwise, and draw other sources.
WATCHED = (
    "f1",
    "completeness_90",
    "false_certain",
    "flux_ratio[>=5]",
    "flux_scatter[>=5]",
    "position_scatter[>=5]",
    "residual_rms",
)
SLACK = 2.0
#: Half width that an interval over few fields is taken to have at least.
LEAST = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``casa-ddpm benchmark``."""
    parser.add_argument("--out", required=True, help="new folder of the report")
    parser.add_argument("--protocols", help=f"laws of the fields (default: {','.join(PROTOCOLS)})")
    parser.add_argument("--fields", type=int, default=0, help="of each protocol; 0: its own number")
    parser.add_argument("--rivals", default="all", help="all, none or names (default: all)")
    parser.add_argument(
        "--route", choices=("ms", "image"), default="ms",
        help="fields as MeasurementSets, for the task and its rivals; or as dirty images, "
        "without CASA, for the network and the peaks alone (default: ms)",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true",
        help="some minutes, without CASA; fails where the network is worse than recorded",
    )  # fmt: skip
    parser.add_argument(
        "--record", metavar="FILE", help="with --quick: record its figures there, compare nothing"
    )
    parser.add_argument("--network", default="default", help="shipped network or checkpoint")
    parser.add_argument("--nsamples", type=int, default=20, help="realisations (default: 20)")
    parser.add_argument("--nmajor", type=int, default=2, help="most passes (default: 2)")
    parser.add_argument("--seed", type=int, default=11, help="of the fields (default: 11)")
    parser.add_argument(
        "--npix", "--imsize", type=int, default=160, help="image side (default: 160)"
    )
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
        If the folder holds something.
    """
    if published.asked(args):
        return published.run(args)
    _check(args)
    user, plan, chosen = _user(args), _plan(args), _rivals(args)
    out = Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"out {args.out!r} is not empty and is not overwritten")
    _, settings = checkpoint.load(args.network)
    missing = {rival.name: why for rival in chosen if (why := rival.missing())}
    # The arguments are there without what reconstructs and draws, which takes long to import.
    from casa_ddpm.benchmark import campaign, plots

    sampling = Sampling(nsamples=args.nsamples, device=args.device)
    truth, found, images = campaign.measure(
        campaign.Campaign(
            tuple(plan), Options(network=args.network, nmajor=args.nmajor, sampling=sampling),
            args.route, args.seed, args.npix,
            tuple(rival.name for rival in chosen if rival.name not in missing), args.workers, user,
        )
    )  # fmt: skip
    seed, defaults = args.seed, {metrics.OURS: 0.9}
    figures = metrics.figures(truth, found, images, seed, defaults)
    comparisons = metrics.comparisons(truth, found, images, metrics.OURS, seed, defaults)
    account = _account(args, plan, settings)
    out.mkdir(parents=True, exist_ok=True)
    write(
        out, Report(truth, found, images, figures, comparisons, account, missing),
        plots.write(out, truth, found, images, figures),
    )  # fmt: skip
    print(f"{len(plan)} fields; the report is {out / 'report.md'}")
    if args.record:
        Path(args.record).write_text(json.dumps(_record(args, figures), indent=1) + "\n")
        return 0
    return _watch(args, figures) if args.quick else 0


def _check(args: argparse.Namespace) -> None:
    """Refuse wrong numbers, and options that exclude each other."""
    least = {"nsamples": 1, "npix": 32, "fields": 0, "nmajor": 1, "workers": 0}
    for name, lowest in least.items():
        if getattr(args, name) < lowest:
            raise ValueError(f"{name} must be at least {lowest}, got {getattr(args, name)}")
    if args.record and not args.quick:
        raise ValueError(f"record must come with quick, got {args.record!r} alone")
    if args.quick:
        args.route, args.rivals = "image", "none"
    elif args.route == "ms" and not measures.installed("casatasks"):
        raise ValueError("route must be 'image' where casatasks is not installed, got 'ms'")


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
    for name in ("protocols", "fields", "quick"):
        if getattr(args, name):
            raise ValueError(f"{name} must not be given with vis, got {getattr(args, name)!r}")
    if args.route != "ms":
        raise ValueError(f"route must be 'ms' with vis, got {args.route!r}")
    return Simulation(args.vis, args.truth, args.cell, args.npix)


def _plan(args: argparse.Namespace) -> list[tuple[str, int]]:
    """Protocol and number of every field."""
    if args.vis:
        return [(USER, 0)]
    names = args.protocols.split(",") if args.protocols else list(PROTOCOLS)
    if unknown := [name for name in names if name not in PROTOCOLS]:
        raise ValueError(f"protocols must be of {list(PROTOCOLS)}, got {unknown}")
    numbers = QUICK if args.quick else {name: PROTOCOLS[name].fields for name in names}
    return [(name, k) for name, n in numbers.items() for k in range(args.fields or n)]


def _rivals(args: argparse.Namespace) -> list[rivals.Rival]:
    """The rivals that are asked for, installed or not."""
    known = {rival.name: rival for rival in rivals.RIVALS}
    names = {"all": list(known), "none": []}.get(args.rivals, args.rivals.split(","))
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"rivals must be all, none or of {list(known)}, got {unknown}")
    return [known[name] for name in names] if args.route == "ms" else []


def _account(args: argparse.Namespace, plan, settings: checkpoint.Settings) -> dict:
    """What the benchmark was run with."""
    names = dict.fromkeys(name for name, _ in plan)
    texts = {name: PROTOCOLS[name].text for name in names if name in PROTOCOLS}
    if args.vis:
        texts[USER] = f"{args.vis}, truth {args.truth}, cell {args.cell}"
    packages = ("casa-ddpm", "torch", "casatasks", "bdsf", "AegeanTools", "photutils")
    return {
        "network": checkpoint.digest(args.network),
        "step": settings.history.get("step"),
        "route": args.route,
        "nsamples": args.nsamples,
        "nmajor": args.nmajor,
        "npix": args.npix,
        "seed": args.seed,
        "protocols": texts,
        "versions": {p: importlib.metadata.version(p) for p in packages if _is_installed(p)},
    }


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _record(args: argparse.Namespace, figures: dict) -> dict:
    """The figures that the quick variant watches, and whose they are."""
    watched = {
        protocol: {name: methods[metrics.OURS][name] for name in WATCHED}
        for protocol, methods in figures.items()
    }
    return {"network": checkpoint.digest(args.network), "figures": watched}


def _watch(args: argparse.Namespace, figures: dict) -> int:
    """Compare the quick variant's figures with those that were recorded for the network."""
    recorded = _recorded()
    if args.network == "default" and recorded["network"] != checkpoint.digest("default"):
        print("the recorded figures are another network's")
        return 1
    worse = list(worsened(figures, recorded["figures"]))
    for line in worse:
        print(f"worse than recorded: {line}")
    return 1 if worse else 0


def _recorded() -> dict:
    """The shipped network, and the quick variant's figures of it."""
    return json.loads((resources.files("casa_ddpm.benchmark") / "recorded.json").read_text())


def worsened(figures: dict, recorded: dict) -> Iterator[str]:
    """What is worse than recorded by more than SLACK times the interval's half width."""
    for protocol, names in recorded.items():
        for name, old in names.items():
            new = figures[protocol][metrics.OURS][name]["value"]
            if new is None or None in old.values():
                continue
            allowed = SLACK * max((old["high"] - old["low"]) / 2, LEAST)
            rise = entry(name).loss(new) - entry(name).loss(old["value"])
            if rise > allowed:
                yield f"{protocol} {name}: {new:.4g}, recorded {old['value']:.4g}"
