"""Simulates a process that is killed at one of its file operations."""

import functools
import itertools
import os


class Killed(BaseException):
    """Ends the simulated process: no code under test catches a BaseException."""


def kill_at(patch, step: int, done: bool) -> None:
    """Raises `Killed` at one rename or removal of a file.

    Args:
        patch: pytest's monkeypatch.
        step: Index of the operation, from 0.
        done: Whether to raise after the operation, not before it.
    """
    steps = itertools.count()

    def killing(operation, *arguments, **named):
        now = next(steps)
        if now == step and not done:
            raise Killed
        operation(*arguments, **named)
        if now == step and done:
            raise Killed

    for name in ("rename", "replace", "remove"):
        patch.setattr(os, name, functools.partial(killing, getattr(os, name)))
