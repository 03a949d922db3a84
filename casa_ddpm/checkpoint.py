"""A trained network with everything that training and sampling must agree on, in one file.

Safetensors: weights as tensors, settings as JSON in the header, no pickle.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from casa_ddpm.diffusion import Denoiser
from casa_ddpm.network import UNet
from casa_ddpm.normalisation import Normalisation
from casa_ddpm.placed import PlacedDenoiser, PlacedUNet

_NETWORKS = Path(__file__).parent / "networks"
_FORMAT = "casa_ddpm 2"


@dataclass(frozen=True)
class Settings:
    """Settings that travel with the weights.

    Parameters
    ----------
    widths, depth
        Of the U-Net.
    sigma_data : float
    normalisation : Normalisation
        Of the sky.
    conditioning : {'restored', 'dirty', 'uv'}
        The condition image that the network was trained for.
    scale : float
        Pixels per beam of the canonical frame.
    kernel : float
        FWHM of the Gaussian at which the sky is drawn [beam].
    cap : float
        Restored brightness above which the model is held back [noise/beam].
    sigma_max, sigma_min : float
        First and last noise level of the sampler.
    temperature : float
        Factor of the noise that a realisation starts from. A network that is not
        fully trained keeps too much of it; fitted on held-out fields.
    calibration : dict
        Recalibration of errors and probabilities, fitted on held-out fields.
    history : dict
        How it was trained: law of the fields, seed, steps, validation figures.
    position, npix : int
        Channels of a learned image that tells the network where it is, and the side of
        the only images that it then works on [pixel]; 0: none, all places are alike. For the
        published protocol alone.
    memory : int
        Rank of the linear estimate of the sky that such a network is shown, as it remembers noise.
    """

    widths: tuple[int, ...] = (48, 96, 128)
    depth: int = 2
    sigma_data: float = 0.25
    normalisation: Normalisation = field(default_factory=Normalisation)
    conditioning: str = "restored"
    scale: float = 4.0
    kernel: float = 0.5
    cap: float = 300.0
    sigma_max: float = 5.0
    sigma_min: float = 0.02
    temperature: float = 1.0
    calibration: dict = field(default_factory=dict)
    history: dict = field(default_factory=dict)
    position: int = 0
    npix: int = 0
    memory: int = 0

    def build(self) -> Denoiser:
        """A denoiser of these settings with fresh weights."""
        if self.position:
            size = (self.position, self.npix, self.memory)
            placed = PlacedUNet(self.widths, self.depth, *size)
            return PlacedDenoiser(placed, self.sigma_data, self.normalisation)
        network = UNet(self.widths, self.depth)
        return Denoiser(network, self.sigma_data, self.normalisation)


def names() -> list[str]:
    """Networks that ship in the package."""
    return sorted(path.stem for path in _NETWORKS.glob("*.safetensors"))


def find(network: str) -> Path:
    """The file of a shipped network or of a path.

    Raises
    ------
    ValueError
        If there is neither.
    """
    for path in (_NETWORKS / f"{network}.safetensors", Path(network)):
        if path.is_file():
            return path
    raise ValueError(
        f"network must be one of {names()} or the path of a .safetensors file, got {network!r}"
    )


def save(path: str | Path, denoiser: Denoiser, settings: Settings) -> None:
    """Write a checkpoint; the file is complete or absent, never half written."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in denoiser.network.state_dict().items()}
    # One entry: safetensors writes several in random order, and the file's hash would vary.
    header = {"casa_ddpm": json.dumps({"format": _FORMAT, "settings": asdict(settings)})}
    partial = Path(f"{path}.part")
    save_file(tensors, partial, header)
    partial.replace(path)


def load(network: str | Path) -> tuple[Denoiser, Settings]:
    """Read a checkpoint, shipped or from a path.

    Returns
    -------
    Denoiser
        On the CPU, in evaluation mode.
    Settings

    Raises
    ------
    ValueError
        If there is no such network, or the file is truncated or not one of ours.
    """
    path = find(str(network))
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"network {str(path)!r} is not a whole safetensors file: {error}"
        ) from None
    settings = _settings(path, header)
    denoiser = settings.build()
    try:
        denoiser.network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"network {str(path)!r} does not fit its settings: {error}") from None
    return denoiser.eval(), settings


def _settings(path: Path, header: dict[str, str]) -> Settings:
    """The settings in a checkpoint's header."""
    if "casa_ddpm" not in header:
        raise ValueError(f"network {str(path)!r} is not a casa_ddpm checkpoint")
    try:
        whole = json.loads(header["casa_ddpm"])
        if whole["format"] != _FORMAT:
            raise ValueError(f"format {whole['format']!r}, not {_FORMAT!r}")
        values = whole["settings"]
        values["widths"] = tuple(values["widths"])
        values["normalisation"] = Normalisation(**values["normalisation"])
        return Settings(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"network {str(path)!r} has settings that cannot be read: {error}"
        ) from None


def digest(network: str | Path) -> str:
    """First 16 hexadecimal digits of the file's SHA-256."""
    return hashlib.sha256(find(str(network)).read_bytes()).hexdigest()[:16]
