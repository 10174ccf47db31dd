"""Named extension points: one small table per kind of thing, filled by dcap, by user code or by entry points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from dcap.core.errors import ConfigError, nearest_hint

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to objects, with third-party entries found through an entry-point group.

    An entry point is loaded when its name is first asked for, never at import, so an unrelated broken plugin
    cannot stop a run.

    Args:
        kind: What is registered, in the words of an error message ("op", "answer format").
        group: Entry-point group that other packages fill, such as ``"dcap.ops"``.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._items: dict[str, T] = {}

    def register(self, name: str, item: T | None = None) -> Callable[[T], T]:
        """Register `item` under `name`; without `item`, return a decorator that does it.

        Raises:
            ConfigError: The name is taken by another object.
        """

        def add(value: T) -> T:
            if self._items.get(name, value) is not value:
                raise ConfigError(f"{self.kind} {name!r} must be registered once, not twice. Choose another name.")
            self._items[name] = value
            return value

        if item is not None:
            add(item)
        return add

    def get(self, name: str, where: str = "") -> T:
        """Return what is registered under `name`.

        Args:
            name: Registered name or entry-point name.
            where: Dotted path of the configuration field that asks, for the message.

        Raises:
            ConfigError: Nothing has that name; the message names the nearest.
        """
        if name not in self._items:
            for point in entry_points(group=self.group, name=name):
                self.register(name, point.load())
        if name not in self._items:
            prefix = f"{where}: " if where else ""
            raise ConfigError(f"{prefix}{name!r} is not a known {self.kind}{nearest_hint(name, self)}")
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        names = set(self._items) | {point.name for point in entry_points(group=self.group)}
        return iter(sorted(names))

    def __contains__(self, name: str) -> bool:
        return name in set(self)
