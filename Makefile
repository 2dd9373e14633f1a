# Each target makes what it needs and does nothing twice.
PYTHON3 ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# Test processes, each with servers of its own; they wait more than they work.
JOBS ?= 3

.DEFAULT_GOAL := help
.PHONY: help up test check lint types floors audit tests faults soak hostile nonsense mutation sdk-js \
  bench bench-peers lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

up: $(READY)  ## run the engine on this machine, with a small demo (ARGS=--exit-after-demo to stop after it)
	@$(BIN)/rag-engine up --demo $(ARGS)

test: lint types floors tests  ## lint, types, floors and all tests

check: lint types floors audit  ## everything but the tests

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)
	$(BIN)/mypy

floors: $(READY)
	$(BIN)/lint-imports --no-cache

audit: $(READY)  ## known vulnerabilities of what requirements.lock names (asks the package index)
	$(BIN)/pip-audit --progress-spinner off --disable-pip --no-deps --requirement requirements.lock

tests: $(READY)
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

faults: $(READY)  ## every fault on real processes: kills, outages, full disks (a quarter of an hour)
	$(BIN)/pytest tests/faults/test_*.py tests/faults/long_*.py $(ARGS)

soak: $(READY)  ## mixed work while everything is killed and restarted (ten minutes; SOAK_S=3600 for an hour)
	$(BIN)/pytest tests/soak/long_soak.py $(ARGS)

hostile: $(READY)  ## the whole hostile corpus (a part of it runs in make test)
	HOSTILE=all $(BIN)/pytest tests/hostile $(ARGS)

nonsense: $(READY)  ## malformed requests and random sequences of good ones, at length
	NONSENSE=all $(BIN)/pytest tests/nonsense $(ARGS)

mutation: $(READY)  ## do the tests notice small wrong versions of what the promises rest on?
	$(BIN)/python -m bench.mutation $(ARGS)

sdk-js: $(READY)  ## the official JavaScript SDK against a running engine (needs node and npm)
	@command -v npm >/dev/null || { echo "make sdk-js needs Node.js 20 or later, with npm"; exit 1; }
	$(BIN)/pytest -p no:cacheprovider tests/sdk-js/starter.py

bench: $(READY)  ## measure on this machine, into bench/RESULTS.md
	$(BIN)/python -m bench $(ARGS)

bench-peers: $(READY) .venv-peers/.ready  ## measure beside LlamaIndex and Haystack, in an environment of their own
	$(BIN)/python -m bench ingest:peers

.venv-peers/.ready: bench/peers/requirements.txt
	@test -x .venv-peers/bin/python || $(PYTHON3) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

lock: $(READY)  ## choose new exact versions for pyproject.toml's ranges
	$(BIN)/pip-compile --quiet --upgrade --all-extras --strip-extras --allow-unsafe --no-header \
	  --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  --output-file requirements.lock pyproject.toml

$(READY): requirements.lock pyproject.toml
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "rag-engine needs Python 3.11 or later: make PYTHON3=/path/to/python3.11"; exit 1; }
	@$(PYTHON3) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "Python's venv module is missing: install it (Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON3) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:  ## remove the environment and what the tools cached; the data folder stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
