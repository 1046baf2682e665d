"""Versions of the toy forecaster to serve, random clips, and waiting for a condition."""

import pathlib
import shutil
import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.serving import toy


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Callable[[float], pathlib.Path]:
    """Exports the toy forecaster with a scale; returns the folder of the SavedModel."""
    folders = {}

    def export(scale: float) -> pathlib.Path:
        if scale not in folders:
            folders[scale] = tmp_path_factory.mktemp("exported") / "model"
            toy.export(scale, str(folders[scale]))
        return folders[scale]

    return export


@pytest.fixture
def publish(exported, tmp_path) -> Callable[..., pathlib.Path]:
    """Publishes a toy model as `tmp_path/toy/<version>` with one rename; returns the folder."""

    def put(version: int, scale: float | None = None) -> pathlib.Path:
        target = tmp_path / "toy" / str(version)
        copy = tmp_path / f"copy-{version}"
        shutil.copytree(exported(float(version) if scale is None else scale), copy)
        target.parent.mkdir(exist_ok=True)
        copy.rename(target)
        return target

    return put


@pytest.fixture
def base_path(publish) -> str:
    """Folder of versions with version 1."""
    return str(publish(1).parent)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Waits until a condition holds; fails the test after a timeout."""

    def wait(condition: Callable[[], bool], *, what: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: did not happen within {seconds} s"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def random_clip() -> Callable[..., np.ndarray]:
    """Makes random uint8 frames `(time, height, width, channel)`."""

    def make(seed: int, frames: int = 3, height: int = 8, width: int = 6) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (frames, height, width, toy.CHANNELS), np.uint8)

    return make
