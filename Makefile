# `make demo` and `make test` each do their own set-up, in .venv; nothing here calls apt or sudo.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Other interpreters to run the torch-free tests on, by path: make test-runtime RUNTIME_PYTHONS=python3.12
RUNTIME_PYTHONS ?=
# How many tests run beside each other.
WORKERS ?= 2
PYTEST := python -m pytest -q -n $(WORKERS) --dist loadfile

.PHONY: install demo test test-slow test-runtime check lint clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "EdgeLeather needs Python 3.10 or later, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)

demo: install
	$(BIN)/edgeleather demo --out demo

# Two threads in each of two workers wait for each other on two cores.
test test-slow test-runtime: export OMP_NUM_THREADS = 1

test: install
	$(BIN)/$(PYTEST) -m 'not slow and not alone'

# What takes minutes: whole trainings, experiments, calibrations by search; and what measures speed.
test-slow: install
	$(BIN)/$(PYTEST) -m 'slow and not alone'
	$(BIN)/python -m pytest -q -m alone

# The runtime on interpreters without torch; the bundle they inspect is made here first.
test-runtime: install
	$(BIN)/python -m tests.make_bundle .cache/test-bundle
	set -e; for python in $(RUNTIME_PYTHONS); do \
	  venv=.venv-$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  $$python -m venv $$venv; \
	  $$venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[mqtt]' pytest pytest-xdist hypothesis; \
	  EDGELEATHER_TEST_BUNDLE=.cache/test-bundle $$venv/bin/$(PYTEST) -m 'not slow and not alone'; \
	done

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test test-slow

clean:
	rm -rf $(VENV) .venv-* .cache demo
