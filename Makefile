# Everything a person or CI does here. `make demo`, `make ui`, `make test` set up what they need by themselves.
# The first Python of 3.11 to 3.14 on the path; `make demo PYTHON=/path/to/python3.12` names another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && echo $$p && break; done)
# CPU builds of torch: TORCH_INDEX="--index-url https://download.pytorch.org/whl/cpu" make demo
TORCH_INDEX ?=
export TORCH_INDEX
VENV := .venv
BIN := $(VENV)/bin
# The Dagster instance of this folder: its settings are dagster.yaml, its state lies in data/.
export DAGSTER_HOME ?= $(CURDIR)
export MORPHO_STATE_DIR ?= $(CURDIR)/data/dagster
# Without these, cellpose and torch spend much of their time on page faults and on waiting (docs/deployment.md).
export OMP_WAIT_POLICY = passive
export MALLOC_MMAP_THRESHOLD_ = 4294967296
export MALLOC_TRIM_THRESHOLD_ = 8589934592

define python_is_there
test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null || { \
  echo "morpho-assets: Python 3.11 to 3.14 is needed, and $(or $(PYTHON),python3) is \
$$($(or $(PYTHON),python3) --version 2>/dev/null || echo not there): install one, or name it: make demo PYTHON=/path/to/python3.12"; exit 1; }
endef

.PHONY: demo ui test quick check check-pins hashes wheel format docs clean remove help
help:            ## list the commands
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

$(VENV)/run: constraints.txt pyproject.toml install.py
	@$(python_is_there)
	@$(PYTHON) install.py --environment $(VENV)
	@touch $@

$(VENV)/dev: constraints.txt constraints-dev.txt pyproject.toml install.py
	@$(python_is_there)
	@$(PYTHON) install.py --environment $(VENV) --tests
	@touch $(VENV)/run $@

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
	$(BIN)/python -m benchmarks.audit

wheel: $(VENV)/dev ## the wheel, the same bytes each time
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist .

hashes: $(VENV)/dev ## constraints-hashed.txt and the bill of materials, after a pin has moved
	$(BIN)/python -m benchmarks.hashes
	$(BIN)/python -m benchmarks.sbom

check-pins: $(VENV)/dev ## ask the index for a wheel of every pin, on every Python and platform
	$(BIN)/python -m benchmarks.pins

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/dev  ## the reference pages, from the code and its tests
	$(BIN)/python -m morpho_assets.reference
	$(BIN)/python -m morpho_assets_tests.gallery.kinds

bench-%: $(VENV)/dev ## one benchmark: activity, calibration, export, first_run, gpu, inputs, ledger, measure, memory, plate, predict, profiles, published, reliability, report, representations, segmentation, simulator, training or truth
	$(BIN)/python -m benchmarks.$*

remove: clean    ## also the environment: what is left is the clone
	rm -rf $(VENV) *.egg-info build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean:           ## forget data and state; the environment stays
	rm -rf data/lake data/gallery data/images data/reports data/dagster data/morpho.duckdb
