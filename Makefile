# Needs Python 3.11 and pip; everything else comes from PyPI, as requirements.lock pins it.
SHELL := /bin/bash
PYTHON ?= python3.11
TARGET ?= $(or $(MALACATE_TARGET),local)
BIN := .venv/bin
export MALACATE_HOME ?= $(CURDIR)/.malacate
export DAGSTER_HOME ?= $(MALACATE_HOME)/dagster
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo dev test test-all test-gcp lint faults bench lock stop clean

.venv/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: $(PYTHON) was not found. Name yours: make $(firstword $(MAKECMDGOALS)) PYTHON=python3"; exit 1; }
	@echo "Installing what requirements.lock pins (once, about a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --compile --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DAGSTER_HOME)/dagster.yaml: dagster.yaml
	@mkdir -p $(DAGSTER_HOME)
	@cp dagster.yaml $@
	@printf 'DAGSTER_HOME=%s\nMALACATE_HOME=%s\n' "$(DAGSTER_HOME)" "$(MALACATE_HOME)" > .env

ready: .venv/.installed $(DAGSTER_HOME)/dagster.yaml
.PHONY: ready

demo: ready  ## start the mine's systems, materialize the whole graph, print what came of it; TARGET=gcp-emulated does so on stand-ins of Google's
ifeq ($(TARGET),gcp-emulated)
	@$(BIN)/python -m platform_tests.emulators.run $(BIN)/malacate demo
else
	@MALACATE_TARGET=$(TARGET) $(BIN)/malacate demo
endif

dev: ready  ## the UI on 127.0.0.1:3000 with its daemon, on the running systems
	@$(BIN)/malacate simulate start
	@$(BIN)/dg dev -w workspace.yaml --host 127.0.0.1 --port 3000

test: ready  ## the suite; everything it needs comes from PyPI
	@$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: ready  ## the suite with all parts: emulators and brokers from Go, npm, Maven, Debian and PyPI, installed into a user cache
	@$(BIN)/python -m platform_tests.emulators.install
	@MALACATE_ALL_PARTS=1 $(MAKE) --no-print-directory test

test-gcp: ready  ## the warehouse's suite on a real, empty project: PROJECT=... BUCKET=...
	@test -n "$(PROJECT)" -a -n "$(BUCKET)" || { echo "Name them: make test-gcp PROJECT=... BUCKET=... (a project without datasets of malacate's; they are dropped)"; exit 1; }
	@MALACATE_TEST_PROJECT=$(PROJECT) MALACATE_TEST_BUCKET=$(BUCKET) $(BIN)/python -m pytest platform_tests/warehouse/test_warehouse.py platform_tests/warehouse/test_bigquery_pruning.py -k gcp

lint: ready  ## format, lint, types, floors
	@$(BIN)/ruff format --check platform platform_tests
	@$(BIN)/ruff check platform platform_tests
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

faults: ready  ## the crash driver and the histories of changes and hours, in their long forms
	@$(BIN)/python platform_tests/faults/run.py --long
	@MALACATE_LONG=1 $(BIN)/python -m pytest -n 2 platform_tests/cdc platform_tests/streams platform_tests/warehouse/test_hour_files.py

bench: ready  ## speed as ratios against named peers and limits, in one run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --compile --no-deps --require-hashes -r requirements-bench.lock
	@$(BIN)/python bench/run.py

stop:  ## stop the mine's systems
	@$(BIN)/malacate simulate stop

LOCK := uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock"
ADAPTER := platform_tests/dbt

lock:  ## pin anew; needs uv
	@$(LOCK) --extra dev pyproject.toml -o requirements.lock
	@$(LOCK) --extra dev --extra bench -c requirements.lock pyproject.toml -o requirements-bench.lock
	@cp requirements.lock requirements-gcp.lock
	@$(LOCK) --extra gcp pyproject.toml -o requirements-gcp.lock
	@cp requirements-gcp.lock $(ADAPTER)/dbt-bigquery.txt
	@cd $(ADAPTER) && $(LOCK) dbt-bigquery.in -o dbt-bigquery.txt
	@$(LOCK) requirements-beam.in -o requirements-beam.lock

clean: stop  ## forget all that the demo made
	@rm -rf $(MALACATE_HOME) .env dbt/target dbt/logs
