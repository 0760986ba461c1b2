PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint test-postgres chaos bench up lock clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## .venv with everything that tests need

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "DSPEx needs Python 3.11 or newer; $(PYTHON) is older. Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "setting up $(VENV) (once; one to two minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## a durable compile on real data, with its worker killed on the way
	@$(BIN)/dspex demo

# Tests start servers, workers and browsers, four at a time, on machines that may be busy with other things: what
# failed in that crowd is run once more with nothing beside it, and fails if it fails there. Both outcomes are printed.
ONCE_MORE := || { test $$? -eq 1 && $(BIN)/python -m pytest -n 1 --last-failed --last-failed-no-failures none; }

test: $(READY) lint browser servers ## lint, types and all tests
	@$(BIN)/python -m pytest -n 1 --max-worker-restart 1 -m alone $(ONCE_MORE)
	@$(BIN)/python -m pytest -n 4 --dist loadfile --max-worker-restart 2 -m "not alone" $(ONCE_MORE)

test-fast: $(READY) ## the tests that need no server
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not alone"

.PHONY: browser
browser: $(READY) # a Chromium for the tests of the dashboard: the system's, or else one of Playwright's own
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| $(BIN)/playwright install chromium >/dev/null \
		|| echo "no browser to be had: the tests of the dashboard that need one will say so" >&2

.PHONY: servers
servers: $(READY) # Temporal's, built where there are none, so that no test waits minutes for them
	@$(BIN)/python tests/build_servers.py

test-postgres: $(READY) servers ## durable runs on PostgreSQL and the real Temporal server (part of `make test`)
	@$(BIN)/python -m pytest tests/postgres

chaos: $(READY) servers ## compiles whose parts are killed at random; ROUNDS=20 SEED=1
	@PYTHONPATH=tests $(BIN)/python -m chaos_rounds --rounds $(or $(ROUNDS),20) --seed $(or $(SEED),1)

lint: $(READY) ## ruff and pyright
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

bench: $(READY) ## the numbers in the README, beside DSPy
	@$(BIN)/python -m benchmarks

up: $(READY) ## Temporal dev server, worker and all, in this terminal
	@$(BIN)/dspex up

lock: $(READY) ## renew requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --output-file requirements.lock --upgrade --quiet

clean: ## remove what setup and tests made here (DSPEX_HOME stays)
	@rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist
