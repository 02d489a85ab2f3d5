# Set-up, a first search, and the checks. `make search` and `make test` are all that a fresh machine needs.

PYTHON ?= python3
VENV ?= .venv
PACKAGE ?= -e '.[dev,ray]'
SEARCH ?= --task demo/entailment --budget 4min
JOBS ?= 2

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help search test test-slow test-gpu lint format install clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

search: install ## set up, then search the embedded demo task for about five minutes
	$(BIN)/autodelta search $(SEARCH)

test: lint ## set up, then every check and the fast tests
	$(PYTEST)

test-slow: install ## the tests that take longer: the built wheel, whole searches
	$(PYTEST) -m 'slow and not gpu'

test-gpu: install ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

lint: install ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## put imports and layout in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(INSTALLED) ## .venv with the pinned versions

# torch goes first and alone: with it in place nothing else makes pip look for another build of it.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed; name one: make PYTHON=python3.12'; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation $(PACKAGE)
	@touch $@

clean: ## remove what was built; runs/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
