"""The reference of the parameters: help, and the page in docs."""

import re
from pathlib import Path

import pytest

from casa_ddpm import cli
from casa_ddpm.tasks import ddpmclean, parameters, reference

PAGE = Path(__file__).parent.parent / "docs" / "parameters.md"


def test_page_is_up_to_date():
    if not PAGE.is_file():
        pytest.skip("not a source tree")
    made = reference.markdown(parameters.task())
    hint = "casa-ddpm clean --parameters markdown > docs/parameters.md"
    assert PAGE.read_text("utf-8") == made, f"run: {hint}"


def test_page_has_every_parameter():
    rows = [r for r in reference.markdown(parameters.task()).splitlines() if r.startswith("| ")]
    found = [re.search(r"`(\w+)`", row)[1] for row in rows[1:]]
    assert found == list(parameters.task().parameters)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}


@pytest.mark.parametrize(
    "row",
    [
        "| `nsamples` | `20` | Realisations of the sky. ",
        "| `specmode` = `'cube'`, `'cubesource'`; `specmode` = `'cubedata'` (`False`) |",
        r"'0:5\~61;70\~80' channels",
        "| `niter` ≠ `0` |",
        "| ↳ `psfimage` | `''` |",
    ],
)
def test_page_says(row):
    assert row in reference.markdown(parameters.task())


def test_help_is_the_text():
    assert ddpmclean.__doc__ == reference.text(parameters.task())


@pytest.mark.parametrize("kind", ["text", "markdown"])
def test_command_prints_it(kind, capsys):
    assert cli.main(["clean", "--parameters", kind]) == 0
    assert capsys.readouterr().out.rstrip() == getattr(reference, kind)(parameters.task()).rstrip()
