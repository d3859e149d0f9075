"""How long a run still takes."""

from __future__ import annotations

import datetime
import math
from collections import deque

_RECENT = 100


class Remaining:
    """The time that the iterations and validations to come will take, as those before them did.

    Args:
        iterations: Of the whole run.
        validation_interval: Iterations between two validations; None: there is none.

    >>> remaining = Remaining(iterations=100, validation_interval=50)
    >>> remaining.validation(30.0)
    >>> for second in range(11):
    ...     remaining.iteration(second)
    >>> remaining.seconds(done=40)  # 60 iterations of a second, and validations after 50 and 100
    120.0
    """

    def __init__(self, *, iterations: int, validation_interval: int | None = None) -> None:
        self.iterations, self.validation_interval = iterations, validation_interval
        self._ends: deque[float] = deque(maxlen=_RECENT)
        self._validation = 0.0
        self._each: float | None = None

    def iteration(self, now: float) -> None:
        """An iteration has ended at `now`, in seconds of any clock."""
        self._ends.append(now)

    def validation(self, seconds: float) -> None:
        """A validation has taken so long; the gap it left between two iterations is forgotten."""
        self._validation = seconds
        self.each()
        self._ends.clear()

    def each(self) -> float | None:
        """Seconds of an iteration, the mean of the latest; None before the second."""
        if len(self._ends) > 1:
            self._each = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        return self._each

    def seconds(self, done: int) -> float | None:
        """Seconds to the end after `done` iterations; None as long as nobody can know."""
        each = self.each()
        if each is None:
            return None
        left = each * (self.iterations - done)
        if self.validation_interval:
            every = self.validation_interval
            # The last iteration is followed by one, whatever the interval.
            left += self._validation * (math.ceil(self.iterations / every) - done // every)
        return left


def clock_time(seconds: float | None) -> str:
    """Hours, minutes and seconds.

    >>> clock_time(3723.4), clock_time(90000.0), clock_time(None)
    ('1:02:03', '1 day, 1:00:00', '-:--:--')
    """
    return "-:--:--" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))
