# Everything a person or CI does here. `make demo`, `make ui`, `make test` set up what they need by themselves.
PYTHON ?= python3
# CPU builds of torch: TORCH_INDEX="--index-url https://download.pytorch.org/whl/cpu" make demo
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
# The Dagster instance of this folder: its settings are dagster.yaml, its state lies in data/.
export DAGSTER_HOME ?= $(CURDIR)
export MORPHO_STATE_DIR ?= $(CURDIR)/data/dagster
# Without these, cellpose and torch spend much of their time on page faults and on waiting (docs/deployment.md).
export OMP_WAIT_POLICY = passive
export MALLOC_MMAP_THRESHOLD_ = 4294967296
export MALLOC_TRIM_THRESHOLD_ = 8589934592

.PHONY: demo ui test quick check format docs clean help
help:            ## list the commands
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

$(VENV)/run: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt $(TORCH_INDEX) torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/dev: $(VENV)/run
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .[dev]
	touch $@

demo: $(VENV)/run  ## a synthetic gallery through every asset, to a report and a database
	$(BIN)/morpho demo

ui: $(VENV)/run    ## the Dagster UI on this machine, with the same data
	$(BIN)/morpho ui

# A file's tests share what they make, so a file stays in one process.
test: $(VENV)/dev  ## all tests
	$(BIN)/pytest --numprocesses $(shell getconf _NPROCESSORS_ONLN) --maxprocesses 4 --dist loadfile

quick: $(VENV)/dev ## the tests that take seconds
	$(BIN)/pytest --numprocesses $(shell getconf _NPROCESSORS_ONLN) --maxprocesses 4 --dist loadfile -m "not slow"

check: $(VENV)/dev ## lint, format, types, definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/dg check defs

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/dev  ## the reference pages, from the code and its tests
	$(BIN)/python -m morpho_assets.reference
	$(BIN)/python -m morpho_assets_tests.gallery.kinds

bench-%: $(VENV)/dev ## one benchmark: calibration, inputs, ledger, measure, memory, predict, profiles, representations, segmentation, simulator or truth
	$(BIN)/python -m benchmarks.$*

clean:           ## forget data and state; the environment stays
	rm -rf data/lake data/gallery data/images data/reports data/dagster data/morpho.duckdb
