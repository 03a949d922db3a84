# Everything happens in .venv of this folder; nothing outside of it is changed.
# The pinned versions are for Python 3.11: taken where there is one.
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PYTESTFLAGS ?=

.PHONY: help venv demo test benchmark lint format docs clean

help:
	@echo "make venv    the environment, in .venv"
	@echo "make demo    a simulated observation, imaged by ddpmclean and tclean, in demo/"
	@echo "make test    the tests; PYTESTFLAGS='-m slow' for the long ones"
	@echo "make benchmark    the quick benchmark: fails where the network is worse than recorded"
	@echo "make lint    ruff and mypy"
	@echo "make docs    the documentation, in docs/_build"
	@echo "make clean   removes what the above made"

venv: $(VENV)/.installed

# The stamps are written last: an installation that was cut off is taken up again.
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[casa,data,benchmark,test]'
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/casa-ddpm demo --out demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest $(PYTESTFLAGS)

benchmark: $(VENV)/.installed
	$(BIN)/casa-ddpm benchmark --quick --workers 2 --out "$$(mktemp -d)"

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx --color -q -C -D project=casa_ddpm -D extensions=myst_parser \
	    -D myst_heading_anchors=3 -D exclude_patterns=_build docs docs/_build
	@echo "docs/_build/index.html"

clean:
	rm -rf $(VENV) demo docs/_build build casa_ddpm.egg-info .pytest_cache .ruff_cache .mypy_cache
