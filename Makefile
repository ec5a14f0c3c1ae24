# `make` or `make help` says what there is. Everything goes into .venv; nothing outside is touched.
# Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# Stamps: an install is repeated when pyproject.toml or the pinned versions are newer than the last
# one that succeeded. The package itself is installed in place: a change of the sources needs none.
LOCK := requirements/dev.txt
NEW_PIP := $(VENV)/.new-pip
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_BENCH := $(VENV)/.installed-bench
INSTALL := $(BIN)/python -m pip install --quiet --constraint $(LOCK)

# AlexNet as published by Caffe's authors; the graph comes with the onnx package.
ALEXNET = $$($(BIN)/python -c "import onnx, pathlib; print(pathlib.Path(onnx.__file__).parent / 'backend/test/data/light/light_bvlc_alexnet.onnx')")

.PHONY: help demo test test-all nightly lint docs replay replay-quick bench bench-quick studies \
  experiments format lock sdist clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## estimate AlexNet on the Eyeriss chip, in joules
	@$(BIN)/picojoule estimate "$(ALEXNET)" -a eyeriss-pj

test: $(INSTALLED_DEV)  ## the tests, doctests included, without the long ones (4 minutes)
	$(PYTEST) -m "not slow"

test-all: $(INSTALLED_DEV)  ## every test (9 minutes)
	$(PYTEST)

# Ten thousand random mappings, and as many beside the optimum: on every kind of machine, even and
# uneven, which writes benchmarks/results/random-mappings.csv; and for every layer of four networks.
nightly: $(INSTALLED_DEV)  ## many random mappings against the search (three quarters of an hour)
	$(BIN)/python -m benchmarks.random_mappings
	PICOJOULE_RANDOM_MAPPINGS=10000 $(PYTEST) tests/properties/test_random_mappings.py

lint: $(INSTALLED_DEV)  ## ruff, mypy --strict, the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src tests tools benchmarks studies experiments
	$(BIN)/lint-imports

docs: $(INSTALLED_DEV)  ## the documentation, in build/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs build/docs
	@echo "the documentation is in build/docs/index.html"

# Ends with 1 where a result is not the one that is kept in benchmarks/results/replay.csv.
replay: $(INSTALLED_DEV)  ## which results differ, all networks on all chips (most of an hour)
	$(BIN)/python -m benchmarks.replay --jobs $(JOBS)

replay-quick: $(INSTALLED_DEV)  ## the same on two chips (a minute)
	$(BIN)/python -m benchmarks.replay --jobs $(JOBS) --quick

# Search times, and other mappers beside ours (each is installed into benchmarks/.envs). Writes
# benchmarks/results. May be interrupted at any time; what is finished is not run again.
bench: $(INSTALLED_BENCH)  ## search times, and other mappers beside ours (an hour or two)
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks.eyexam
	$(BIN)/python -m benchmarks.side_by_side

# The same on a few layers, in minutes; writes nothing into the repository.
bench-quick: $(INSTALLED_BENCH)  ## the same on a few layers (minutes)
	$(BIN)/python -m benchmarks.search --quick
	$(BIN)/python -m benchmarks.eyexam --quick
	$(BIN)/python -m benchmarks.side_by_side --quick

studies: $(INSTALLED_DEV)  ## the limitations of SysML 2018, tables and plots (ten minutes)
	$(BIN)/python -m studies.limitations

format: $(INSTALLED_DEV)  ## rewrite the sources in the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Fashion-MNIST as Debian's dataset-fashion-mnist installs it; hours, and resumed where it stopped.
FASHION_MNIST ?= /usr/share/datasets/fashion-mnist
experiments: $(INSTALLED_DEV)  ## train and prune on Fashion-MNIST (many hours)
	$(BIN)/python -m experiments.all --data "$(FASHION_MNIST)" --out out/experiments
	$(BIN)/python -m experiments.netadapt --data "$(FASHION_MNIST)" --trained out/experiments/trained \
	  --work out/netadapt --results out/netadapt/results.csv

# Pins what pip chooses today, in an environment of its own; with the oldest Python that we support,
# since each version must exist for it. Only versions: no index, no platform's own build.
lock:  ## pin the newest versions of everything in requirements/dev.txt
	rm -rf build/lock
	"$(PYTHON)" -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade pip
	build/lock/bin/python -m pip install --quiet --editable . --group dev
	@{ echo "# Versions that \`make\` installs; \`make lock\` writes this file."; \
	   build/lock/bin/python -m pip freeze --all --exclude-editable --exclude setuptools | \
	     sed -E 's/ @ .*//; s/\+[A-Za-z0-9.]+$$//'; } > $(LOCK).new
	mv $(LOCK).new $(LOCK)

sdist: $(INSTALLED_DEV)  ## the source archive and the wheel, in dist
	$(BIN)/python -m build --outdir dist

clean:  ## remove all that was made
	rm -rf $(VENV) build dist src/picojoule/compiled/code .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find src tests tools benchmarks studies experiments -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "No '$(PYTHON)' here. picojoule needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "picojoule needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1). Try: make PYTHON=python3.11 ..." >&2; \
	  exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# Dependency groups need pip 25.1; what comes with Python may be older.
$(NEW_PIP): $(LOCK) | $(BIN)/python
	$(INSTALL) --upgrade pip
	@touch $@

$(INSTALLED): pyproject.toml $(NEW_PIP)
	$(INSTALL) --editable .
	@touch $@

$(INSTALLED_DEV): pyproject.toml $(NEW_PIP)
	$(INSTALL) --editable . --group dev
	@touch $(INSTALLED) $@

$(INSTALLED_BENCH): pyproject.toml $(NEW_PIP)
	$(INSTALL) --editable . --group bench
	@touch $(INSTALLED) $@
