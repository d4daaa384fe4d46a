# Everything a developer does, in one screen. `make` alone lists it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.setup-done
WORKERS ?= 2
TESTS   ?= tests
SEEDS   ?= 500
CASES   ?= 20000
SAMPLE  ?= 500
LOCK    := pip compile pyproject.toml --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11

# The first Python that is new enough; `make setup PYTHON=/path/to/python` overrides it.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; done)

.PHONY: help setup demo test simulate mutants fuzz mutmut check bench bench-peers lists lock format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## Make .venv with every dependency, pinned and hashed; quick when nothing changed
	@:

# Only the pinned, hashed files are installed: the build back end is among them, so nothing is fetched behind them.
$(STAMP): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Tenuto needs Python 3.11 or newer, and none of python3, python3.11, python3.12," \
		"python3.13 is one. Install it, or run: make setup PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## Run the order example from end to end and watch it
	@$(BIN)/tenuto demo

test: setup ## Run the tests (WORKERS=2, TESTS=tests)
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile $(TESTS)

simulate: setup ## Let everything go wrong in SEEDS=500 simulated worlds
	@$(BIN)/python -m simulation --seeds $(SEEDS) --jobs $(WORKERS)

mutants: setup ## Break the engine on purpose, in every way listed: the simulator must notice
	@$(BIN)/python -m simulation --mutants --jobs $(WORKERS)

fuzz: setup ## Read CASES=20000 random definitions, conditions and templates of each kind
	@TENUTO_FUZZ_CASES=$(CASES) $(BIN)/python -m pytest -q -n $(WORKERS) tests/fuzz

mutmut: setup ## Change SAMPLE=500 small things in the domain: do its tests notice
	@$(BIN)/python tests/mutation_sample.py $(SAMPLE)

check: setup ## Lint, check the format, the types and who imports whom
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup ## Measure the engine's own cost (docs/benchmarks.md)
	@$(BIN)/python -m benchmarks

bench-peers: setup ## The same work by other engines in the same run (PEERS=folder with their scripts)
	@$(BIN)/python -m benchmarks.peers "$(PEERS)"
lists: setup ## Measure lists among 1,000,000 instances; takes half an hour
	@$(BIN)/python -m benchmarks --only lists --scale 5 --out benchmarks/results/lists.json

lock: setup ## Resolve the dependencies again into requirements/*.txt (no registry's address in them)
	@$(BIN)/uv $(LOCK) --quiet --extra embedded -o requirements/runtime.txt
	@$(BIN)/uv $(LOCK) --quiet --extra embedded --group dev -o requirements/dev.txt

format: setup ## Format the code and mend what the linter can mend
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format

clean: ## Remove what was made here, the embedded database (.tenuto) included
	rm -rf $(VENV) .tenuto dist build mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
