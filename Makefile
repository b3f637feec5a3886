SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
export DAGSTER_HOME := $(CURDIR)
export EXPERIENCE_HOME ?= $(CURDIR)/var
export PYTHONUTF8 = 1
BIN := .venv/bin

.PHONY: setup
setup: .venv/.installed ## Make the environment from the hash-locked requirements

.venv/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
