# Verbs: demo test check serve cluster bench chaos bundles pictures proto dashboards docs lock sbom clean help. `make demo`
# and `make test` set up .venv on first use.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
PROGRAMS := service export clients/python
# For the Python of the image; hashes of all platforms.
LOCK := $(BIN)/uv pip compile --quiet --generate-hashes --custom-compile-command "make lock" -c constraints.txt \
	--python-version 3.11.13 --python-platform linux
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

cluster: .venv/.dev  ## run three servers behind Envoy, with Redis and Prometheus, until ^C
	@$(BIN)/python -m deploy.cluster

test: .venv/.dev  ## run the whole test suite
	@$(BIN)/python -m pytest

check: .venv/.dev  ## lint, format, type and security checks
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/buf lint proto
	@$(BIN)/bandit --quiet --recursive $(PROGRAMS)

bench: .venv/.dev  ## measure against roofs of the same run
	@$(BIN)/python -m bench

chaos: .venv/.dev  ## break a cluster of this machine for a while and check every character
	@$(BIN)/python -m chaos

bundles: .venv/.dev  ## train the small shipped bundles again
	@$(BIN)/python examples/bundles.py

pictures: .venv/.dev  ## draw the pictures of docs/tutorial.md
	@$(BIN)/python -m examples.pictures

proto: .venv/.dev  ## regenerate the checked-in stubs
	@$(BIN)/python tests/support/stubs.py

dashboards: .venv/.dev  ## write the dashboards of deploy/grafana
	@$(BIN)/python -m deploy.grafana

docs: .venv/.dev  ## write the tables of settings in the documents
	@$(BIN)/python -m tests.support.settings_table

lock: .venv/.dev  ## pin what the image installs, with hashes
	@$(LOCK) pyproject.toml --extra service --extra otel --output-file locks/service.txt
	@echo hatchling | $(LOCK) - --output-file locks/build.txt

sbom: .venv/.dev  ## write build/sbom.json, what the image is made of
	@mkdir -p build
	@$(BIN)/cyclonedx-py requirements locks/service.txt --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-format JSON --output-file build/sbom.json

clean:  ## remove what was built
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help demo serve cluster test check bench chaos bundles pictures proto dashboards docs lock sbom clean
