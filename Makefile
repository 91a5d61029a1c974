# The two commands of the README: make demo [OUT=folder], make test. Each sets up what it needs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check bench table format clean

demo: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash recipes/demo.sh $(OUT)

test: $(STAMP)
	$(BIN)/python -m pytest -n auto

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_docs.py

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/calibration.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/merging.py $(if $(MERGEKIT),--mergekit $(MERGEKIT))

# The README's table: three methods, three seeds, six tasks and a control. Most of an hour.
table: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash recipes/table.sh $(OUT)

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || \
	  { $(PYTHON) -m pip install --quiet --user virtualenv && $(PYTHON) -m virtualenv --clear $(VENV); } || \
	  { rm -rf $(VENV); echo "cannot make a virtual environment: install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --no-input -e ".[dev]"
	touch $@

clean:
	rm -rf demo-output table-output .pytest_cache .mypy_cache .ruff_cache .hypothesis build ./*.egg-info
