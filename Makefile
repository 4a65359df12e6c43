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
	@grep -hE '^[a-zA-Z_-]+(-<[a-z]+>)?%?:.*##' $(MAKEFILE_LIST) | sed -E 's/%:/-<service>:/; s/test--</test-</' | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

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

