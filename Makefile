# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
JOBS ?= 2
# One thread a process: the demo's and the tests' work is split over processes.
export OMP_NUM_THREADS ?= 1

.PHONY: install demo test test-all lint docs clean

install: $(INSTALLED)

$(INSTALLED): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev,docs]" -c constraints.txt
	touch $@

demo: install
	$(BIN)/python tools/demo.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -n $(JOBS)

# Into build/docs; warnings are errors.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build work_dirs .mypy_cache .pytest_cache .ruff_cache
