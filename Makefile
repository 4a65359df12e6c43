# Every target is a no-op when nothing changed; `make` alone prints this help.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
UV_PIN := 0.13.8
MEMBERS := libs/common services/gateway services/identity services/works services/generation services/billing services/notify suite lab
PYTHON ?= python3

.DEFAULT_GOAL := help

.PHONY: help
help:  ## print this help
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed 's/%:/<service>:/' | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet uv==$(UV_PIN)

$(VENV)/.synced: requirements.lock $(BIN)/uv $(addsuffix /pyproject.toml,$(MEMBERS))
	$(BIN)/uv pip sync --quiet requirements.lock
	@touch $@

.PHONY: install
install: $(VENV)/.synced  ## make the virtual environment exactly as locked

.PHONY: lock
lock: $(BIN)/uv  ## resolve the dependencies again into requirements.lock
	$(BIN)/python .ci/lock.py

.PHONY: demo
demo: install  ## set up, then watch one photo become four pictures and a song
	@$(BIN)/darkroom demo

.PHONY: up
up: install  ## all six services in one process, until Ctrl-C
	@$(BIN)/darkroom up

.PHONY: test
test: install  ## set up, then every test but the slow ones
	$(BIN)/python .ci/test.py

test-%: install  ## the tests of one service, as in `make test-billing`
	$(BIN)/pytest services/$*

.PHONY: lab
lab: install  ## the long tests: more rounds, more kills
	$(BIN)/pytest -m "slow"

.PHONY: bench
bench: install  ## measure; PEER=1 also measures the stack we replace
	$(BIN)/python -m lab.bench $(if $(PEER),--peer)

.PHONY: newcomer
newcomer: install  ## how long the demo takes in fresh clones, cold and warm; TEST=1 also `make test`
	$(BIN)/python -m lab.newcomer $(if $(TEST),--test)

.PHONY: lint
lint: install  ## ruff: format and rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check

.PHONY: types
types: install  ## mypy, strict
	$(BIN)/mypy $(addprefix -p ,common gateway identity works generation billing notify suite lab)

.PHONY: imports
imports: install  ## import-linter: the one-way rule
	$(BIN)/lint-imports

.PHONY: events
events: install  ## write docs/events.md from the facts
	$(BIN)/python -m suite.events

.PHONY: check
check: install  ## everything that can be checked without running a service
	$(BIN)/python .ci/lock.py --check
	$(MAKE) --no-print-directory lint types imports
	$(BIN)/python -m suite.events --check

.PHONY: clean
clean:  ## remove what was made: environment, data, caches
	rm -rf $(VENV) .darkroom demo-output .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
