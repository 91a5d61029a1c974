# The two commands of the README: make demo, make test. Each sets up all that it needs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check bench table format clean

demo: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash recipes/demo.sh

test: $(STAMP)
	$(BIN)/python -m pytest

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_docs.py

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py

# The README's table: three methods, three seeds, six tasks and a control. Most of an hour.
table: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash recipes/table.sh

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-input -e ".[dev]"
	touch $@

clean:
	rm -rf demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis build ./*.egg-info
