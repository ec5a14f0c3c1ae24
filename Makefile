# make demo | test | nightly | lint | docs | bench | bench-quick | studies | format | experiments |
# clean. Everything goes into .venv; nothing outside it is touched.
# Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

# Stamps: an install is repeated when pyproject.toml is newer than the last one that succeeded.
# The package itself is installed in place, so that a change of the sources needs no install.
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_BENCH := $(VENV)/.installed-bench

# AlexNet as published by Caffe's authors; the graph comes with the onnx package.
ALEXNET = $$($(BIN)/python -c "import onnx, pathlib; print(pathlib.Path(onnx.__file__).parent / 'backend/test/data/light/light_bvlc_alexnet.onnx')")

.PHONY: demo test nightly lint docs bench bench-quick studies format experiments clean

demo: $(INSTALLED)
	@$(BIN)/picojoule estimate "$(ALEXNET)" -a eyeriss

test: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -n $(JOBS)

# Ten thousand random mappings, and as many beside the optimum, for every layer of four networks.
nightly: $(INSTALLED_DEV)
	PICOJOULE_RANDOM_MAPPINGS=10000 $(BIN)/python -m pytest -n $(JOBS) tests/properties/test_random_mappings.py

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src tools benchmarks experiments
	$(BIN)/lint-imports

docs: $(INSTALLED_DEV)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs build/docs
	@echo "the documentation is in build/docs/index.html"

# Search times, and other mappers beside ours (each is installed into benchmarks/.envs). Writes
# benchmarks/results. May be interrupted at any time; what is finished is not run again.
bench: $(INSTALLED_BENCH)
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks.eyexam
	$(BIN)/python -m benchmarks.side_by_side

# The same on a few layers, in minutes; writes nothing into the repository.
bench-quick: $(INSTALLED_BENCH)
	$(BIN)/python -m benchmarks.search --quick
	$(BIN)/python -m benchmarks.eyexam --quick
	$(BIN)/python -m benchmarks.side_by_side --quick

# The limitations of SysML 2018, repeated: tables and plots in studies/results, in ten minutes.
studies: $(INSTALLED_DEV)
	$(BIN)/python -m studies.limitations

format: $(INSTALLED_DEV)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Fashion-MNIST as Debian's dataset-fashion-mnist installs it; hours, and resumed where it stopped.
FASHION_MNIST ?= /usr/share/datasets/fashion-mnist
experiments: $(INSTALLED_DEV)
	$(BIN)/python -m experiments.all --data "$(FASHION_MNIST)" --out out/experiments
	$(BIN)/python -m experiments.netadapt --data "$(FASHION_MNIST)" --trained out/experiments/trained \
	  --work out/netadapt --results out/netadapt/results.csv

clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "No '$(PYTHON)' here. picojoule needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "picojoule needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1). Try: make PYTHON=python3.11 ..." >&2; \
	  exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(INSTALLED): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(INSTALLED_DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(INSTALLED) $@

$(INSTALLED_BENCH): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $(INSTALLED) $@
