SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
# Everything that the warehouse keeps lies below this folder.
export EXPERIENCE_HOME ?= $(CURDIR)/var
export DAGSTER_HOME := $(CURDIR)
export PYTHONUTF8 := 1
# Size of the sample company: 1 is about 2,000 customers, 60,000 web events and 3,000 responses in 400 days.
SCALE ?= 1
SEED ?= 7

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: setup
setup: .venv/.installed ## Make the environment from the hash-locked requirements

.venv/.installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	@echo "installing the locked requirements into .venv (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: sample
sample: setup ## Write the sample company's systems and their source files (SCALE=1 SEED=7)
	@$(BIN)/experience init
	@$(BIN)/python -m orchestration.sample --home "$$EXPERIENCE_HOME" --scale $(SCALE) --seed $(SEED)

.PHONY: nightly
nightly: setup ## Run one night headless; fails when a gate blocked
	@mkdir -p "$$EXPERIENCE_HOME"
	@$(BIN)/experience nightly

.PHONY: demo
demo: sample ## Generate the sample company, run a night, print the headline numbers
	@mkdir -p "$$EXPERIENCE_HOME"
	@$(BIN)/experience nightly
	@$(BIN)/experience headlines

.PHONY: dev
dev: setup ## Open Dagster's web interface on http://127.0.0.1:3000
	@mkdir -p "$$EXPERIENCE_HOME"
	@PATH="$(BIN):$$PATH" $(BIN)/dg dev --host 127.0.0.1 --port $(or $(PORT),3000)

.PHONY: test
test: setup lint ## Run every check and test
	@if [ -d ../shared/data ]; then $(BIN)/pytest -n 2 --dist loadfile; \
	else echo "../shared/data is not here: the tests over real data are left out"; \
	  $(BIN)/pytest -n 2 --dist loadfile -m "not real_data"; fi

.PHONY: lint
lint: setup ## Format, lint, types, SQL style
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/sqlfluff lint dbt_project/models --processes 2 --disable-progress-bar --nocolor

.PHONY: benchmark
benchmark: setup ## Measure side by side; prints tables, asserts nothing
	@$(BIN)/python -m tests.benchmarks

.PHONY: lock
lock: ## Write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --quiet -o requirements.lock

.PHONY: clean
clean: ## Remove everything the warehouse keeps (EXPERIENCE_HOME)
	rm -rf "$$EXPERIENCE_HOME"
