# Every target works on a fresh machine with Python >= 3.11: it makes .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Where a CPU wheel of PyTorch is to be had, `constraints` pins this version of it.
TORCH ?= 2.13.0
# Test processes; a file stays with one, so that what it compiles is compiled once.
WORKERS ?= auto

.NOTPARALLEL:
.PHONY: reproduce test test-all lint format bench constraints clean

reproduce: $(VENV)/.user
	$(BIN)/momentumflow reproduce all

test: $(VENV)/.developer
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

test-all: $(VENV)/.developer
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: $(VENV)/.developer
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.developer
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.developer
	for file in benchmarks/[a-z]*.py; do $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit 1; done

constraints:
	rm -rf $(VENV)-constraints
	$(PYTHON) -m venv $(VENV)-constraints
	$(VENV)-constraints/bin/python -m pip install --quiet torch==$(TORCH) -e ".[dev,torch]"
	$(VENV)-constraints/bin/python -m pip freeze --exclude-editable \
	  | sed -E 's/\+[A-Za-z0-9.]+$$//' | sort -f > constraints.tmp
	mv constraints.tmp constraints.txt
	rm -rf $(VENV)-constraints

clean:
	rm -rf $(VENV) $(VENV)-constraints constraints.tmp dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find momentumflow tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed, not " + sys.version if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[sweep]"
	touch $@

$(VENV)/.developer: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[dev,torch]"
	touch $@
