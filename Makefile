# All commands for contributors; `make` lists them.
PYTHON ?= python3
BIN := .venv/bin
ESCI ?= ../shared/data/esci
QUERIES ?= ../shared/data/queries/esci_queries.txt.gz
BENCHMARKS := $(addprefix bench/,quality.py geometry.py load.py attention.py service.py document_signals.py search_latency.py index_size.py modes.py)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test containers proof lint docs bundle bench clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: .venv/installed ## run everything from scratch: node, products, ingest, searches, report
	$(BIN)/anthem demo

test: .venv/installed-dev ## lint, then run all tests, in two processes with a real node each
	$(MAKE) --no-print-directory lint
	$(BIN)/pytest --numprocesses 2 --dist loadfile tests/containers tests

containers: .venv/installed-dev ## run the container tests in full, with Docker or podman: docs/containers.md
	$(BIN)/python tests/containers/engine.py
	$(BIN)/pytest --proof tests/containers

proof: .venv/installed-dev ## run the load, kill, fuzz, three-node and container tests in full, then the node tests on 2.19.1: docs/reliability.md
	$(BIN)/python tests/proof.py

lint: .venv/installed-dev ## run ruff, mypy and import-linter
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/mypy $(BENCHMARKS)
	$(BIN)/mypy docs/make_reference.py docs/make_first_run.py
	$(BIN)/lint-imports

docs: .venv/installed-dev ## write the reference from the code, then build the site in site/
	$(BIN)/python docs/make_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bundle: .venv/installed-dev ## train and export bundles/general again from its sources
	$(BIN)/python bundles/make.py $(ESCI) $(QUERIES) bundles/general
	$(BIN)/python tests/golden/refresh.py

bench: .venv/installed-dev ## compare with rankers from the literature; takes hours; data in ANTHEM_DATA
	$(BIN)/python bench/quality.py run --all --seeds 3
	$(BIN)/python bench/quality.py table

clean: ## remove the virtual environment and the caches of the tools
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required: make PYTHON=...")'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[demo,serve]'
	@touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) --editable '.[all,dev]'
	@touch $@
