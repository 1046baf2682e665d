"""Decides whether and when a request is sent again: only to an unavailable server, with backoff, within a deadline.

    budget = RetryBudget(deadline=60)
    while True:
        try:
            return predict(request, timeout=budget.left)
        except grpc.RpcError as error:
            pause = budget.pause_after(error)
        time.sleep(pause)

Waiting is left to the caller, which may be blocking or asynchronous.
"""

import random
import time

import grpc

_ATTEMPTS = 6
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # Seconds.


class RetryBudget:
    """Time and attempts left for one request.

    Args:
        deadline: Seconds, from now.
    """

    def __init__(self, deadline: float):
        self._end = time.monotonic() + deadline
        self._attempt = 0

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(self._end - time.monotonic(), 0)

    def pause_after(self, error: grpc.RpcError) -> float:
        """Returns the seconds to wait before the next attempt.

        Raises:
            grpc.RpcError: `error` itself, if it is not UNAVAILABLE or the budget is spent.
        """
        self._attempt += 1
        # Half of the pause is random, so that the clients of a restarted server do not all return at the same moment.
        pause = min(_FIRST_PAUSE * 2 ** (self._attempt - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1)
        is_last = self._attempt == _ATTEMPTS or pause >= self.left
        if is_last or error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise error
        return pause
