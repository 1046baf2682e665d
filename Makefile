# `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup peers demo tensorboard test test-stack test-host test-all test-backends test-flink test-image soak manifests image-steps lint format lock clean

PYTHON := .venv/bin/python
# Tests of a file stay on one worker, see tests/conftest.py. Three workers on two cores, because tests
# also wait for servers and processes; each takes 3 GB.
PYTEST := $(PYTHON) -W ignore -m pytest -n 3 --dist loadfile --no-loadscope-reorder
export TF_CPP_MIN_LOG_LEVEL ?= 3

help: ## Lists the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s'|'

setup: ## Creates .venv with the stack for this machine; all other targets depend on it.
	@requirements/setup.sh

peers: ## Creates .venv-peers: PyTorch, JAX and pySTEPS, for benchmarks and for the layers on other backends; 5 GB.
	@requirements/setup.sh --peers

demo: setup ## Generates clips, runs the whole pipeline, serves the model, queries it, writes demo/forecast.gif.
	@$(PYTHON) -W ignore -m framecast.pipeline.commands.demo

WORKDIR ?= work
tensorboard: setup ## Shows the training runs of WORKDIR (default: work) on http://localhost:6006.
	@$(PYTHON) -W ignore -m tensorboard.main --logdir $(WORKDIR)/artifacts/Trainer/model_run --host localhost

test: setup ## Runs the tests, except those marked slow.
	@$(PYTEST) -m "not slow and not flink"

# CONTRIBUTING.md, "Two stacks", names the rule behind this list.
STACK_TESTS := tests/models tests/components tests/evaluation/gate tests/evaluation/sums tests/serving/client \
  tests/serving/server tests/pipeline/dag tests/pipeline/kubeflow tests/end_to_end

test-stack: setup ## Runs the tests whose outcome can differ between the stacks, except those marked slow.
	@$(PYTEST) -m "not slow and not flink" $(STACK_TESTS)

test-host: setup ## Runs all tests on this machine's stack.
	@$(PYTEST) -m "not flink"

test-all: test-host ## Runs all tests on this machine's stack and, if that is A, also on B in a Debian 13 root.
	@case "$$(requirements/setup.sh --which)" in \
	  "stack a"*) requirements/debian13.sh make --no-print-directory test-host;; \
	esac

LAYER_TESTS := tests/models/test_convlstm.py tests/models/test_convlstm_cells.py tests/models/test_convlstm_masks.py
test-backends: setup peers ## Runs the layers' tests on JAX and PyTorch, and the tests that need pySTEPS.
	@KERAS_BACKEND=jax .venv-peers/bin/python -W ignore -m pytest $(LAYER_TESTS)
	@KERAS_BACKEND=torch .venv-peers/bin/python -W ignore -m pytest $(LAYER_TESTS)
	@.venv-peers/bin/python -W ignore -m pytest tests/evaluation/baselines/test_extrapolation.py
	@FRAMECAST_PEERS=.venv-peers/bin/python $(PYTHON) -W ignore -m pytest tests/evaluation/test_pysteps.py

test-flink: setup ## Runs the pipeline on a local Flink cluster and kills parts of it; needs Java 17, Maven, stack A.
	@$(PYTHON) -W ignore -m pytest -x -m flink tests/flink

soak: setup ## Queries the embedded server for five minutes while versions change; test-all does it briefly.
	@$(PYTHON) -W ignore benchmarks/soak.py

manifests: setup ## Renders the manifests of kubeflow/ and validates them with Kubernetes' and KServe's code; needs Go.
	@command -v go >/dev/null || { echo "make manifests: expected Go 1.24 or newer on PATH, found none" >&2; exit 1; }
	@mkdir -p build
# Without optimization, because it compiles in a third of the time and runs for seconds.
	@cd kubeflow/validate && CGO_ENABLED=0 go build -gcflags='all=-N -l' -ldflags=-s -o ../../build/validate .
	@build/validate kubeflow
	@FRAMECAST_VALIDATE=$(CURDIR)/build/validate $(PYTHON) -W ignore -m pytest tests/kubeflow/test_admission.py

test-image: setup ## Runs the Dockerfile's steps in a Debian 13 root, then a compiled pipeline in the result.
	@$(PYTHON) kubeflow/image_steps.py -- sh -c "$$(cat tests/kubeflow/run_in_image.sh)"

COMMAND ?= framecast --help
image-steps: setup ## Runs the Dockerfile's steps in a Debian 13 root, then COMMAND as the image's user.
	@$(PYTHON) kubeflow/image_steps.py -- sh -c '$(COMMAND)'

lint: setup ## Checks style, types and which module may import which.
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@mkdir -p build
	@.venv/bin/lint-imports --no-cache >build/imports.txt || { cat build/imports.txt; exit 1; }

format: setup ## Formats the code and applies ruff's fixes.
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

COMPILE := uv pip compile --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -q
IMAGE := $(COMPILE) pyproject.toml -c requirements/stack-b.lock --python-version 3.11 --python-platform x86_64-manylinux_2_39
EXTRAS := --extra dev --extra kubeflow --extra media --extra s3

lock: ## Resolves the lock files; needs uv.
	@$(COMPILE) pyproject.toml $(EXTRAS) --python-version 3.10 --python-platform x86_64-manylinux_2_28 -o requirements/stack-a.lock
	@$(COMPILE) pyproject.toml $(EXTRAS) --python-version 3.11 --python-platform x86_64-manylinux_2_39 -o requirements/stack-b.lock
	@$(IMAGE) --extra kubeflow --extra s3 -o requirements/image.lock
	@$(IMAGE) --extra kubeflow --extra s3 --extra gpu -o requirements/image-gpu.lock
	@$(COMPILE) requirements/peers.in --python-version 3.10 --python-platform x86_64-manylinux_2_28 -o requirements/peers.lock

clean: ## Removes environments, build folders and work directories.
	rm -rf .venv .venv-peers .venv-tools demo work build *.egg-info
