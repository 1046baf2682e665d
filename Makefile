# Everything that a person can do here: `make help`.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format lock clean

PYTHON := .venv/bin/python
export TF_CPP_MIN_LOG_LEVEL ?= 3

help: ## Lists the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s'|'

setup: ## Creates .venv with the stack that this machine takes; every other target does this first.
	@requirements/setup.sh

demo: setup ## Makes a data set, runs the whole pipeline, serves, asks the server, shows the result.
	@$(PYTHON) -W ignore -m framecast.pipeline.demo

test: setup ## Runs the tests.
	@$(PYTHON) -W ignore -m pytest

lint: setup ## Checks style and types.
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@mkdir -p build/typed && ln -sfn ../.. build/typed/framecast
	@.venv/bin/mypy

format: setup ## Formats the code and mends what ruff can.
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

lock: ## Resolves the lock files anew; needs uv.
	@for stack in a:3.10:2_28 b:3.11:2_39; do \
	  name=$${stack%%:*}; rest=$${stack#*:}; \
	  uv pip compile pyproject.toml --extra dev --extra kubeflow --extra media --python-version $${rest%:*} \
	    --python-platform x86_64-manylinux_$${rest#*:} --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-header --no-annotate -q -o requirements/stack-$$name.lock; \
	done

clean: ## Removes what runs and set-up left behind.
	rm -rf .venv .venv-tools demo work build *.egg-info
