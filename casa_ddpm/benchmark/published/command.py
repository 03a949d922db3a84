"""``casa-ddpm benchmark --protocols published``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

from casa_ddpm import arguments, checkpoint, folders, workers
from casa_ddpm.benchmark import unfinished
from casa_ddpm.benchmark.versions import versions
from casa_ddpm.posterior import Sampling

NAME = "published"
CONDITIONINGS = ("dirty", "uv")
#: Steps of the sampler: no sweep over the sources follows it here.
STEPS = 12
#: Fields unless said otherwise, and fields of the validation stream that thresholds are chosen on.
FIELDS, TUNING = 100, 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this protocol beside those of the benchmark."""
    own = parser.add_argument_group(
        "the published protocol (--protocols published), which leaks: to compare with its table"
    )
    own.add_argument(
        "--networks", metavar="dirty=PATH,uv=PATH", help="networks that were trained on it"
    )
    own.add_argument(
        "--tuning", type=int, default=TUNING,
        help=f"fields of the validation stream that thresholds are chosen on (default: {TUNING})",
    )  # fmt: skip


def asked(args: argparse.Namespace) -> bool:
    """Whether the published protocol is asked for.

    Raises
    ------
    ValueError
        If it is asked for beside others, or with what it does not have.
    """
    names = (args.protocols or "").split(",")
    if NAME not in names:
        if args.networks:
            raise ValueError(f"networks must come with protocols {NAME}, got {args.networks!r}")
        return False
    if names != [NAME]:
        raise ValueError(f"protocols must name {NAME} alone, got {args.protocols!r}")
    for name in (
        "vis", "truth", "cell", "quick", "record", "select", "route", "rivals", "scale",
    ):  # fmt: skip
        if value := getattr(args, name):
            raise ValueError(f"{name} must not be given with protocols {NAME}, got {value!r}")
    return True


def run(args: argparse.Namespace) -> int:
    """Measure, and write the report; returns 0.

    Raises
    ------
    ValueError
        If a network is absent or of another law, or a number is wrong.
    FileExistsError
        If the folder holds something, or a benchmark of other settings has begun it.
    """
    arguments.at_least(args, {"nsamples": 2, "fields": 0, "tuning": 1, "seed": 0, "workers": 0})
    networks = chosen(args.networks)
    out = folders.new(args.out)
    # What finds sources and compares images takes long to import.
    from casa_ddpm.benchmark.published import figures, measurement, page
    from casa_ddpm.pool import progress

    sampling = Sampling(
        nsamples=args.nsamples, nsteps=STEPS, device=args.device, batchsize=args.nsamples
    )
    plan = measurement.Plan(networks, sampling, args.seed)
    number = args.fields or FIELDS
    items = list(_items(networks, number, args.tuning))
    account = {
        "realisations": args.nsamples,
        "sampler": f"{sampling.sampler}, {sampling.nsteps} evaluations and one for the mean",
        "seed": args.seed,
        "networks": {name: describe(path) for name, path in networks.items()},
    }
    begun = {"protocol": NAME, "versions": versions()} | account
    begun |= unfinished.circumstances(args.device, args.workers)
    with unfinished.folder(out, begun) as kept:
        work = workers.each(partial(measurement.once, plan, kept), items, args.workers)
        found = measurement.join(list(progress(work, "fields", total=len(items))))
        account |= {"fields": number, "tuning fields": args.tuning}
        account["correlation of the noise of two fields"] = measurement.correlations(plan, number)
        result = figures.figures(found, args.seed)
        unfinished.finish(
            kept, out, partial(page.write, found=found, figures=result, account=account)
        )
    print(f"{number} fields; the report is {out / 'report.md'}")
    return 0


def chosen(networks: str | None) -> dict[str, str]:
    """Network of each conditioning, from ``dirty=PATH,uv=PATH``; one of them is enough.

    Raises
    ------
    ValueError
        If none is given, one was not trained on this protocol, or for another conditioning.
    """
    how = "casa-ddpm train --law published --conditioning dirty --minutes 50 --out DIR"
    if not networks:
        raise ValueError(
            f"networks must be given as dirty=PATH,uv=PATH; none ships, train one with: {how}"
        )
    result = {}
    for word in networks.split(","):
        name, _, path = word.partition("=")
        if name not in CONDITIONINGS or not path or name in result:
            raise ValueError(f"networks must be given as dirty=PATH,uv=PATH, got {networks!r}")
        _, settings = checkpoint.load(path)
        law = settings.history.get("law")
        if law != NAME or settings.conditioning != name:
            raise ValueError(
                f"network {path!r} must be trained with --law published --conditioning {name}, "
                f"got law {law!r} and conditioning {settings.conditioning!r}"
            )
        result[name] = path
    return {name: result[name] for name in CONDITIONINGS if name in result}


def describe(path: str) -> str:
    """What a network is, in a line."""
    denoiser, settings = checkpoint.load(path)
    count = sum(parameter.numel() for parameter in denoiser.parameters())
    gamma, step = settings.normalisation.gamma, settings.history.get("step")
    return f"{checkpoint.digest(path)}, {count} parameters, step {step}, gamma {gamma:g}"


def _items(networks, number: int, tuning: int) -> Iterator[tuple[str, str, str, int]]:
    """Conditioning, noise, stream and number of every field that is reconstructed."""
    for name in networks:
        yield from ((name, "shared", "validation", k) for k in range(tuning))
        for noise in ("shared", "independent"):
            yield from ((name, noise, "test", k) for k in range(number))
