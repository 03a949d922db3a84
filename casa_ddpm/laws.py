"""What a network can be trained on: its fields, and the settings that follow from them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from casa_ddpm import published, simulator
from casa_ddpm.checkpoint import Settings
from casa_ddpm.diffusion import Denoiser
from casa_ddpm.normalisation import Normalisation
from casa_ddpm.placed import PlacedUNet
from casa_ddpm.pointing import WINDOW
from casa_ddpm.pool import Kind


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
    """

    settings: Settings
    fields: Kind
    held_out: Kind
    npix: int

    def prepare(self, denoiser: Denoiser, seed: int) -> None:
        """Tell a fresh network what it is to know before its training, if anything."""
        if not self.settings.memory:
            return
        assert isinstance(denoiser.network, PlacedUNet)
        assert isinstance(self.fields, published.Settings)
        # Four times as many pointings as images, of which training fields have none.
        number = 4 * self.settings.memory
        denoiser.network.remember(published.noise_images(self.fields, seed, number))


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
        "--memory", type=int, default=0, help="images that noise is remembered by; law published"
    )
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
        If conditioning is not 'dirty' or 'uv', there is no positional embedding or memory is
        negative.
    """
    for name, least in {"position": 1, "memory": 0}.items():
        if getattr(args, name) < least:
            raise ValueError(f"{name} must be at least {least}, got {getattr(args, name)}")
    fields = published.Settings(args.conditioning, pointings=args.pointings)
    settings = Settings(
        widths=_widths(args),
        depth=args.depth,
        sigma_data=0.1,
        normalisation=Normalisation("published", args.gamma),
        conditioning=args.conditioning,
        history={"law": "published"},
        position=args.position,
        npix=WINDOW,
        memory=args.memory,
    )
    return Law(settings, fields, fields, WINDOW)


def _widths(args: argparse.Namespace) -> tuple[int, ...]:
    return tuple(int(width) for width in args.widths.split(","))


LAWS = {"general": general, "published": of_protocol}
