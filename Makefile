# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test check fast bench clean

setup: $(STAMP)

# torch goes first and alone: a CPU build is enough here, and a range would pull a newer one with CUDA.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

demo: setup
	$(BIN)/netlathe search configs/digits.yaml

# Everything: the fast tests on all cores, then those that need Ray or more time, one after the other.
test: setup
	$(BIN)/python -m pytest -n auto
	$(BIN)/python -m pytest -m "slow or ray"

fast: setup
	$(BIN)/python -m pytest -n auto

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n auto

bench: setup
	$(BIN)/python benchmarks/child_training.py
	$(BIN)/python benchmarks/cost_model.py configs/digits.yaml configs/shapes.yaml
	$(BIN)/python benchmarks/search_overhead.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
