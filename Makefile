# Verbs: demo test check serve bench bundles proto dashboards clean help. `make demo` and `make test` set up
# .venv on first use.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
.DEFAULT_GOAL := help

help:  ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  \033[1mmake %-10s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/.service: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up .venv (service, no torch)"
	@$(PIP) -e '.[service]' && touch $@

.venv/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up .venv (service, export, tools)"
	@$(PIP) -e '.[dev]' && touch $@ .venv/.service

demo: .venv/.service  ## serve the shipped bundle and stream text from it
	@$(BIN)/python examples/demo.py

serve: .venv/.service  ## serve the shipped bundle until ^C
	@$(BIN)/unrolled serve

test: .venv/.dev  ## run the whole test suite
	@$(BIN)/python -m pytest

check: .venv/.dev  ## lint, format and type checks
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/buf lint proto

bench: .venv/.dev  ## measure against roofs of the same run
	@$(BIN)/python -m bench

bundles: .venv/.dev  ## train the small shipped bundles again
	@$(BIN)/python examples/bundles.py

proto: .venv/.dev  ## regenerate the checked-in stubs
	@$(BIN)/python tests/support/stubs.py

dashboards: .venv/.dev  ## write the dashboards of deploy/grafana
	@$(BIN)/python -m deploy.grafana

clean:  ## remove what was built
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help demo serve test check bench bundles proto dashboards clean
