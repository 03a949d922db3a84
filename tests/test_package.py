"""What the package needs to be imported, and what its metadata say."""

import configparser
import importlib.metadata
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import casa_ddpm

ROOT = Path(__file__).parent.parent
CASA = ["casatools", "casatasks", "casashell", "casampi"]
#: The GPU machines that train have none of these.
ASTRONOMY = [*CASA, "casaconfig", "casadata", "astropy", "photutils", "regions", "radio_beam"]
ASTRONOMY += ["spectral_cube", "skimage", "matplotlib", "tqdm"]

MODULES = sorted(f"casa_ddpm.{m.name}" for m in pkgutil.iter_modules(casa_ddpm.__path__))
TASKS = [f"casa_ddpm.tasks.{name}" for name in "ddpmclean effect parameters rules schema".split()]
WITHOUT_CASA = [m for m in MODULES if m != "casa_ddpm.casa"] + TASKS
TORCH_ONLY = [
    f"casa_ddpm.{name}"
    for name in (
        "network diffusion samplers posterior aggregation simulator training checkpoint "
        "published pointing laws placed pool".split()
    )
    if f"casa_ddpm.{name}" in MODULES
]

#: Imports the modules named in the arguments, some packages blocked, and prints the errors.
IMPORT = """
import importlib, json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

blocked, modules = json.loads(sys.argv[1])
sys.meta_path.insert(0, Blocked())
errors = {}
for module in modules:
    try:
        importlib.import_module(module)
    except Exception as error:
        errors[module] = f"{type(error).__name__}: {error}"
print(json.dumps(errors))
"""


def import_errors(blocked, modules, folder):
    """Errors of importing `modules` in a new process without `blocked`, by module."""
    process = subprocess.run(
        [sys.executable, "-c", IMPORT, json.dumps([blocked, modules])],
        capture_output=True, text=True, check=True, cwd=folder,
    )  # fmt: skip
    return json.loads(process.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def without_casa(tmp_path_factory):
    return import_errors(CASA, WITHOUT_CASA, tmp_path_factory.mktemp("casa"))


@pytest.fixture(scope="module")
def without_astronomy(tmp_path_factory):
    return import_errors(ASTRONOMY, TORCH_ONLY, tmp_path_factory.mktemp("astronomy"))


@pytest.mark.parametrize("module", WITHOUT_CASA)
def test_imports_without_casa(without_casa, module):
    assert without_casa.get(module) is None


@pytest.mark.parametrize("module", TORCH_ONLY)
def test_imports_with_torch_numpy_scipy_safetensors_alone(without_astronomy, module):
    assert without_astronomy.get(module) is None


def test_import_of_the_package_is_light(tmp_path):
    blocked = [*ASTRONOMY, "torch", "scipy"]
    assert import_errors(blocked, ["casa_ddpm", "casa_ddpm.tasks"], tmp_path) == {}


def test_help_of_the_benchmark_does_not_wait_for_what_it_draws_with(tmp_path):
    """Nor does wrong usage: CASA, the pictures and the reconstruction come with the run."""
    heavy = [*CASA, "matplotlib", "skimage", "photutils", "regions"]
    # Not blocked, as astropy looks for matplotlib without importing it.
    code = "import casa_ddpm.benchmark, sys; print(sorted(sys.modules))"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert not {f"{name!r}" for name in heavy} & set(process.stdout.strip("[]\n").split(", "))


def test_blocking_works(tmp_path):
    assert "blocked" in import_errors(["numpy"], ["numpy"], tmp_path)["numpy"]


# --- metadata ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def setup():
    if not (ROOT / "setup.cfg").is_file():
        pytest.skip("not a source tree")
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def test_every_package_is_installed(setup):
    found = set()
    # tasks/ is installed inside of the package.
    for folder, prefix in (("casa_ddpm", ""), ("tasks", "casa_ddpm.")):
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(prefix + ".".join(init.parent.relative_to(ROOT).parts))
    assert set(setup["options"]["packages"].split()) == found


def test_every_requirement_is_pinned(setup):
    pins = (ROOT / "constraints.txt").read_text()
    required = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    for line in "\n".join(required).split("\n"):
        if (line := line.strip()) and not line.startswith("#"):
            name = re.split(r"[<>=\[ ]", line)[0]
            assert re.search(rf"^{name}==", pins, re.MULTILINE), f"{name} is not in constraints.txt"


def test_version():
    assert importlib.metadata.version("casa-ddpm") == casa_ddpm.__version__
