"""The command line: ``casa-ddpm COMMAND``.

Every command is a thin layer over a function of the package, imported when the
command is chosen, so that ``casa-ddpm --help`` is quick and ``train`` needs no CASA.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

#: CASA's types of words, and what a literal of words begins with.
_WORDS, _OPENING = {"string", "stringVec", "path", "pathVec"}, ("'", '"', "[")


@dataclass(frozen=True)
class Command:
    """A sub-command: what help says, its arguments, and what runs it.

    Attributes
    ----------
    help : str
        One line.
    add_arguments : callable
        Adds its arguments to an `argparse.ArgumentParser`.
    run : callable
        Runs it on the parsed arguments and returns the exit code, None for 0.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the program's name; by default those of this process.

    Returns
    -------
    int
        Exit code: 0, a command's own, 2 after an error (as for wrong usage), 130
        when interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    args = _parser(words).parse_args(words)
    try:
        return COMMANDS[args.command].run(args) or 0
    except KeyboardInterrupt:
        print("casa-ddpm: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if args.debug:
            raise
        message = " ".join(str(error).split()) or "no message"
        name = "" if isinstance(error, (ValueError, TypeError)) else f"{type(error).__name__}: "
        print(f"casa-ddpm {args.command}: {name}{message}", file=sys.stderr)
        return 2


def parse_value(text: str) -> Any:
    """A value of KEY=VALUE: a Python literal, or else the text itself.

    ``3``, ``0.5``, ``True``, ``['a','b']`` and ``'a b'`` are literals;
    ``0.1arcsec`` and ``target.ms`` are not, and need no quotes. ``true`` and
    ``false`` do for the Python names.
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, (bool, int, float, str, list, tuple)) else text


def parse_values(words: Sequence[str]) -> dict[str, Any]:
    """Task parameters from KEY=VALUE words.

    A parameter of words gets its text, unless that is quoted or a list: ``field=0`` is
    field '0', ``spw=0,1`` the windows '0,1' and ``imagename=2026`` the name '2026'. One of
    words or a whole number gets the number: ``phasecenter=1`` is field 1.

    Parameters
    ----------
    words : sequence of str
        Such as ``["vis=target.ms", "imsize=[512,512]", "cell=0.1arcsec"]``.

    Raises
    ------
    ValueError
        For a word without '=' and for a parameter given twice.
    """
    from casa_ddpm.tasks import parameters

    known = parameters.task().parameters
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ValueError(f"arguments must be written KEY=VALUE, got {word!r}")
        if name in values:
            raise ValueError(f"{name} must be given once, got it again in {word!r}")
        values[name] = _of_types(text, known[name].types if name in known else ())
    return values


def _of_types(text: str, types: Sequence[str]) -> Any:
    """The value that a text stands for where the task takes these types."""
    value = parse_value(text)
    if not _WORDS.intersection(types) or "double" in types or text.startswith(_OPENING):
        return value
    # Of words and lists of words, a number is one of the words: a name that looks like one.
    number = "int" in types and "stringVec" not in types and type(value) is int
    return value if number else text


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the chosen command's arguments are filled in."""
    parser = argparse.ArgumentParser(
        prog="casa-ddpm",
        description="Radio-interferometric images with error bars, by conditional diffusion.",
    )
    parser.add_argument("--version", action="version", version=f"casa-ddpm {_version()}")
    parser.set_defaults(debug=False)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help, description=command.help)
        subparser.add_argument("--debug", action="store_true", help="show an error's traceback")
        if name == chosen:
            command.add_arguments(subparser)
    return parser


def _version() -> str:
    from casa_ddpm import __version__

    return __version__


def _clean_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "values",
        nargs="*",
        metavar="KEY=VALUE",
        help="the task's parameters, such as vis=target.ms imagename=target cell=0.1arcsec",
    )
    parser.add_argument(
        "--parameters", nargs="?", const="text", choices=("text", "markdown"),
        help="explain the parameters, stop (markdown: as in docs/parameters.md)",
    )  # fmt: skip


def _clean(args: argparse.Namespace) -> None:
    from casa_ddpm.tasks import parameters, reference
    from casa_ddpm.tasks.ddpmclean import ddpmclean

    if args.parameters:
        print(getattr(reference, args.parameters)(parameters.task()).rstrip())
        return
    ddpmclean(**parse_values(args.values))


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="demo", help="folder of the results (default: demo)")
    parser.add_argument("--seed", type=int, default=1, help="seed of sky, noise and realisations")


def _demo(args: argparse.Namespace) -> None:
    from casa_ddpm import demo

    demo.run(out=args.out, seed=args.seed)


def _arrays_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--casadata", default="", help="folder with *.cfg files (default: the installed casadata)"
    )
    parser.add_argument("--out", default="arrays.npz", help="file to write (default: arrays.npz)")


def _arrays(args: argparse.Namespace) -> None:
    from casa_ddpm import arrays, measures

    folder = args.casadata or measures.casadata_path()
    if not folder:
        raise ValueError("casadata must be installed (pip install casadata) or --casadata be given")
    names = arrays.build(folder, args.out)
    print(f"{len(names)} array configurations in {args.out}")


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


def _doctor(args: argparse.Namespace) -> int:
    from casa_ddpm import doctor

    return doctor.main()


def _of_module(name: str, help: str) -> Command:
    """A command that the module `name` describes, by its ``add_arguments`` and ``run``."""
    module = f"casa_ddpm.{name}"
    return Command(
        help,
        lambda parser: import_module(module).add_arguments(parser),
        lambda args: import_module(module).run(args),
    )


#: The commands by name. No option of theirs is called --config: casaconfig, which CASA
#: imports, would take it for its own and run the file that it names.
COMMANDS: dict[str, Command] = {
    "clean": Command("image and reconstruct: the task ddpmclean", _clean_arguments, _clean),
    "demo": Command("simulate an observation and reconstruct it", _demo_arguments, _demo),
    "simulate": _of_module("fields", "simulate fields as the network is trained on, as FITS files"),
    "train": _of_module("training", "train a network"),
    "calibrate": _of_module("calibrate", "fit a network's errors and probabilities"),
    "benchmark": _of_module("benchmark", "measure a network on simulated fields"),
    "compare": _of_module("compare", "two runs, images or lists of sources, side by side"),
    "arrays": Command("collect array configurations in a file", _arrays_arguments, _arrays),
    "register": _of_module("startup", "make ddpmclean a task of every session of CASA's shell"),
    "doctor": Command("what is installed, and how to mend what is missing", _no_arguments, _doctor),
}
