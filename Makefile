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

# With MERGEKIT=ENVIRONMENT/bin/mergekit-pytorch beside mergekit too, see docs/merging.md.
bench: export MERGEKIT := $(MERGEKIT)
bench: $(STAMP)
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/calibration.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/merging.py --only count
	$(BIN)/python benchmarks/merging.py --only live
	$(BIN)/python benchmarks/merging.py --only ties --size ViT-B-16
	$(BIN)/python benchmarks/merging.py --only mergekit --size ViT-L-14
	$(if $(MERGEKIT),$(BIN)/python benchmarks/mergekit_numbers.py --mergekit $(MERGEKIT) --blocks 1 --words 4096)

# The README's tables: every method, AdaMerging (table5) among them, three seeds. Some hours on 2 cores; it goes on where it stopped.
table: $(STAMP)
	for each in fig3 table1 table2 table5; do \
	  $(BIN)/talos run recipes/tiny/$$each.toml -o $(or $(OUT),table-output) \
	    --set 'seeds=[0, 1, 2]' --jobs 2 || exit; \
	done

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
