"""Recent: what a process used last, up to a bound, so that thousands of shards take no more than a few."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Things that can be made again, the ones used last; meant for one thread.

    Args:
        bound: Largest sum of costs; the newest thing stays, whatever it costs.
        cost: What a thing costs.
        close: What happens to a thing that is let go of.
    """

    def __init__(
        self, bound: int, cost: Callable[[T], int] = lambda _: 1, close: Callable[[T], None] = lambda _: None
    ) -> None:
        self.bound = bound
        self._cost, self._close = cost, close
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._sum = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the thing of a key, made now if it is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        thing = make()
        self._kept[key] = thing, self._cost(thing)
        self._sum += self._kept[key][1]
        while self._sum > self.bound and len(self._kept) > 1:
            self.drop(next(iter(self._kept)))
        return thing

    def drop(self, key: Hashable) -> None:
        """Let go of the thing of a key, if it is kept."""
        if key in self._kept:
            thing, cost = self._kept.pop(key)
            self._sum -= cost
            self._close(thing)
