# Everything that a person can do here: `make help`.
.DEFAULT_GOAL := help
.PHONY: help setup peers demo tensorboard test test-all test-backends test-flink test-image soak manifests image-steps lint format lock clean

PYTHON := .venv/bin/python
# Groups of tests that share what takes long stay on one worker, see tests/conftest.py. Each worker takes 2 GB.
PYTEST := $(PYTHON) -W ignore -m pytest -n 2 --dist loadgroup --no-loadscope-reorder
export TF_CPP_MIN_LOG_LEVEL ?= 3

help: ## Lists the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s'|'

setup: ## Creates .venv with the stack that this machine takes; every other target does this first.
	@requirements/setup.sh

peers: ## Creates .venv-peers: PyTorch, JAX and pySTEPS, for benchmarks and for the layers on other backends; 5 GB.
	@requirements/setup.sh --peers

demo: setup ## Makes a data set, runs the whole pipeline, serves, asks the server, shows the result.
	@$(PYTHON) -W ignore -m framecast.pipeline.commands.demo

WORKDIR ?= work
tensorboard: setup ## Shows the training runs of WORKDIR (work unless given), those going on too, on http://localhost:6006.
	@$(PYTHON) -W ignore -m tensorboard.main --logdir $(WORKDIR)/artifacts/Trainer/model_run --host localhost

test: setup ## Runs the tests, without those that take minutes each.
	@$(PYTEST) -m "not slow and not flink"

test-all: setup ## Runs all tests on this machine's stack and, where that is A, those of `make test` on B in a Debian 13 root.
	@$(PYTEST) -m "not flink"
	@case "$$(requirements/setup.sh --which)" in \
	  "stack a"*) requirements/debian13.sh make --no-print-directory test;; \
	esac

test-backends: setup peers ## Runs the layers' tests on Keras' other backends, JAX and PyTorch, and what needs pySTEPS.
	@KERAS_BACKEND=jax .venv-peers/bin/python -W ignore -m pytest tests/models/test_convlstm.py
	@KERAS_BACKEND=torch .venv-peers/bin/python -W ignore -m pytest tests/models/test_convlstm.py
	@.venv-peers/bin/python -W ignore -m pytest tests/evaluation/baselines/test_extrapolation.py
	@FRAMECAST_PEERS=.venv-peers/bin/python $(PYTHON) -W ignore -m pytest tests/evaluation/test_pysteps.py

test-flink: setup ## Runs the pipeline on a real Flink cluster of this machine, and kills parts of it; needs Java 17, Maven, stack A.
	@$(PYTHON) -W ignore -m pytest -x -m flink tests/flink

soak: setup ## Asks the embedded server for five minutes, while versions come and go; make test-all does it shortly.
	@$(PYTHON) -W ignore benchmarks/soak.py

manifests: setup ## Renders the manifests of kubeflow/ and asks Kubernetes' and KServe's own code about them; needs Go.
	@command -v go >/dev/null || { echo "make manifests: expected Go 1.24 or newer on PATH, found none" >&2; exit 1; }
	@mkdir -p build
# Not optimised: it runs for seconds, and compiles in a third of the time.
	@cd kubeflow/validate && CGO_ENABLED=0 go build -gcflags='all=-N -l' -ldflags=-s -o ../../build/validate .
	@build/validate kubeflow
	@FRAMECAST_VALIDATE=$(CURDIR)/build/validate $(PYTHON) -W ignore -m pytest tests/kubeflow/test_admission.py

test-image: setup ## Runs the Dockerfile's steps in a Debian 13 root, then a compiled pipeline task by task in what they made.
	@$(PYTHON) kubeflow/image_steps.py -- sh -c "$$(cat tests/kubeflow/run_in_image.sh)"

COMMAND ?= framecast --help
image-steps: setup ## Runs the steps of kubeflow/Dockerfile in a Debian 13 root, without Docker, then COMMAND as the image's user.
	@$(PYTHON) kubeflow/image_steps.py -- sh -c '$(COMMAND)'

lint: setup ## Checks style, types and which module may import which.
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@mkdir -p build
	@.venv/bin/lint-imports --no-cache >build/imports.txt || { cat build/imports.txt; exit 1; }

format: setup ## Formats the code and mends what ruff can.
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

COMPILE := uv pip compile --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -q
IMAGE := $(COMPILE) pyproject.toml -c requirements/stack-b.lock --python-version 3.11 --python-platform x86_64-manylinux_2_39
EXTRAS := --extra dev --extra kubeflow --extra media --extra s3

lock: ## Resolves the lock files anew; needs uv.
	@$(COMPILE) pyproject.toml $(EXTRAS) --python-version 3.10 --python-platform x86_64-manylinux_2_28 -o requirements/stack-a.lock
	@$(COMPILE) pyproject.toml $(EXTRAS) --python-version 3.11 --python-platform x86_64-manylinux_2_39 -o requirements/stack-b.lock
	@$(IMAGE) --extra kubeflow --extra s3 -o requirements/image.lock
	@$(IMAGE) --extra kubeflow --extra s3 --extra gpu -o requirements/image-gpu.lock
	@$(COMPILE) requirements/peers.in --python-version 3.10 --python-platform x86_64-manylinux_2_28 -o requirements/peers.lock

clean: ## Removes what runs and set-up left behind.
	rm -rf .venv .venv-peers .venv-tools demo work build *.egg-info
