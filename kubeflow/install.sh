#!/bin/sh
# The steps of the Dockerfile, each by its name; `make image-steps` runs the same ones without Docker.
set -eu

environment=/opt/framecast
tools=/tmp/framecast-tools
UV_VERSION=0.13.9

packages() {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    rm -rf /var/lib/apt/lists/*
}

case "$1" in
compiler) # One dependency comes as source.
    packages g++
    python3.11 -m venv $tools
    $tools/bin/python -m pip install -q --disable-pip-version-check --no-cache-dir "uv==$UV_VERSION"
    ;;
dependencies) # What the lock file names and nothing else, each file by its hash.
    case "$2" in
    cpu) lock=requirements/image.lock ;;
    gpu) lock=requirements/image-gpu.lock ;;
    *)
        echo "VARIANT: expected cpu or gpu, received $2" >&2
        exit 2
        ;;
    esac
    python3.11 -m venv --without-pip $environment
    $tools/bin/uv pip sync -q --require-hashes --link-mode copy --compile-bytecode --python $environment/bin/python $lock
    ;;
framecast) # Built by the setuptools of the lock file, not by one that is fetched for it.
    $tools/bin/uv pip install -q --no-deps --no-build-isolation --link-mode copy --compile-bytecode \
        --python $environment/bin/python .
    ;;
user) # Kubeflow Pipelines' launcher keeps a task's artifacts in these three, as the user of the task.
    packages libgomp1
    groupadd --gid 1000 framecast
    useradd --uid 1000 --gid 1000 --create-home framecast
    mkdir -p /gcs /s3 /minio
    chown 1000:1000 /gcs /s3 /minio
    ;;
*)
    echo "install.sh: expected compiler, dependencies, framecast or user, received $1" >&2
    exit 2
    ;;
esac
