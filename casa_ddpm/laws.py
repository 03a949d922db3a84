"""What a network can be trained on: its fields, and the settings that follow from them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import partial

from casa_ddpm import linear, published, simulator, workers
from casa_ddpm.checkpoint import Settings
from casa_ddpm.diffusion import Denoiser
from casa_ddpm.normalisation import Normalisation
from casa_ddpm.placed import PlacedUNet
from casa_ddpm.pointing import WINDOW
from casa_ddpm.pool import Kind, progress

#: Fields that a process simulates at a time for the memory.
_CHUNK = 256


@dataclass(frozen=True)
class Law:
    """Fields to train on.

    Parameters
    ----------
    settings : checkpoint.Settings
        Of a network for them.
    fields, held_out : simulator.Settings or published.Settings
        Of the training and the validation stream.
    npix : int
        Side of a field [pixel].
    memorised : int
        Fields of a stream of their own that the network's memory follows from.
    """

    settings: Settings
    fields: Kind
    held_out: Kind
    npix: int
    memorised: int = 0

    def prepare(self, denoiser: Denoiser, seed: int, processes: int = 0) -> None:
        """Tell a fresh network what it is to know before its training, if anything."""
        if not self.settings.memory:
            return
        assert isinstance(denoiser.network, PlacedUNet)
        assert isinstance(self.fields, published.Settings)
        starts = range(0, self.memorised, _CHUNK)
        chunks = [range(start, min(start + _CHUNK, self.memorised)) for start in starts]
        drawn = workers.each(partial(published.memorised, self.fields, seed), chunks, processes)
        examples = progress(drawn, "memory", total=len(chunks))
        denoiser.network.remember(linear.estimator(examples, self.settings.memory))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what is trained on."""
    parser.add_argument(
        "--law", default="general", choices=list(LAWS),
        help="general: any array and sky; published: the published protocol, whose noise and "
        "lattice a network learns, for the benchmark of that name alone",
    )  # fmt: skip
    parser.add_argument(
        "--conditioning", default="restored", choices=["restored", "dirty", "uv"],
        help="what the network is shown; law general: restored or dirty, published: dirty or uv",
    )  # fmt: skip
    parser.add_argument(
        "--npix", type=int, default=192, help="side of a simulated field; law general"
    )
    parser.add_argument("--gamma", type=float, default=2.0, help="power of the sky's root")
    parser.add_argument(
        "--position", type=int, default=8, help="channels of the learned image; law published"
    )
    parser.add_argument(
        "--memory", type=int, default=0,
        help="rank of the linear estimate of the sky that is shown as well; law published",
    )  # fmt: skip
    parser.add_argument(
        "--memorised", type=int, default=16384,
        help="fields that the linear estimate follows from, if there is one; a uv field takes "
        "0.02 s, a dirty one 0.2 s; law published",
    )  # fmt: skip
    parser.add_argument(
        "--pointings", type=int, default=256,
        help="different pointings of the training fields; law published",
    )  # fmt: skip


def general(args: argparse.Namespace) -> Law:
    """Fields of any array and sky, on which everything that ships is trained.

    Raises
    ------
    ValueError
        If conditioning is 'uv' or a crop is larger than a field.
    """
    if args.conditioning == "uv":
        raise ValueError("conditioning must be restored or dirty for the law general, got 'uv'")
    if args.crop > args.npix:
        raise ValueError(f"crop must be at most npix={args.npix}, got {args.crop}")
    fields = simulator.Settings(npix=args.npix, peel=args.conditioning == "restored")
    settings = Settings(
        widths=_widths(args),
        depth=args.depth,
        normalisation=Normalisation(gamma=args.gamma),
        conditioning=args.conditioning,
        scale=simulator.SCALE,
        kernel=simulator.KERNEL,
        cap=simulator.CAP,
        history={"law": "general"},
    )
    return Law(settings, fields, replace(fields, arrays=simulator.VALIDATION_ARRAYS), args.npix)


def of_protocol(args: argparse.Namespace) -> Law:
    """Fields of the published protocol, each as a whole and as it lies.

    Raises
    ------
    ValueError
        If conditioning is not 'dirty' or 'uv', there is no positional embedding, memory is
        negative or more than there are pixels, or memorised is less.
    """
    for name, least in {"position": 1, "memory": 0}.items():
        if getattr(args, name) < least:
            raise ValueError(f"{name} must be at least {least}, got {getattr(args, name)}")
    if args.memory > WINDOW**2:
        raise ValueError(f"memory must be at most {WINDOW**2}, got {args.memory}")
    # From fewer than there are pixels the estimate is worse than none.
    if args.memory and args.memorised < WINDOW**2:
        raise ValueError(f"memorised must be at least {WINDOW**2}, got {args.memorised}")
    fields = published.Settings(args.conditioning, pointings=args.pointings)
    settings = Settings(
        widths=_widths(args),
        depth=args.depth,
        sigma_data=0.1,
        normalisation=Normalisation("published", args.gamma),
        conditioning=args.conditioning,
        history={"law": "published", "pointings": args.pointings}
        | ({"memorised": args.memorised} if args.memory else {}),
        position=args.position,
        npix=WINDOW,
        memory=args.memory,
    )
    return Law(settings, fields, fields, WINDOW, args.memorised)


def _widths(args: argparse.Namespace) -> tuple[int, ...]:
    return tuple(int(width) for width in args.widths.split(","))


LAWS = {"general": general, "published": of_protocol}
