"""A process that is killed at one of its steps on files, in this one."""

import functools
import itertools
import os


class Killed(BaseException):
    """The process is gone: nothing of ours catches it."""


def kill_at(patch, step: int, done: bool) -> None:
    """Kills this process at a rename or removal of a file, before it or after it.

    Args:
        patch: pytest's monkeypatch.
        step: Which one, counted from 0.
        done: After it.
    """
    steps = itertools.count()

    def killing(own, *arguments, **named):
        now = next(steps)
        if now == step and not done:
            raise Killed
        own(*arguments, **named)
        if now == step and done:
            raise Killed

    for name in ("rename", "replace", "remove"):
        patch.setattr(os, name, functools.partial(killing, getattr(os, name)))
