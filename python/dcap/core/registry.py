"""Named extension points: one small table per kind of thing, filled by dcap, by user code or by entry points."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from dcap.core.errors import ConfigError, DcapError, PluginError, nearest_hint

T = TypeVar("T")


@contextmanager
def calling(what: str) -> Iterator[None]:
    """Run code that a user or another package wrote. Its errors name that code.

    Args:
        what: The code and its input, for the message.

    Raises:
        PluginError: The code raised something that is no error of dcap; that is the cause.
    """
    try:
        yield
    except DcapError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginError(
            f"{what} must not fail, and raised {type(error).__name__}: {error} ({place.filename}:{place.lineno})"
        ) from error


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
            PluginError: The entry point of that name cannot be loaded.
        """
        if name not in self._items:
            for point in entry_points(group=self.group, name=name):
                with calling(f"entry point {point.name} = {point.value!r} of {self.group}"):
                    item = point.load()
                self.register(name, item)
        if name not in self._items:
            prefix = f"{where}: " if where else ""
            hint = nearest_hint(name, self)
            own = "" if hint.endswith("?") else f"; one of your own must be an entry point of {self.group}"
            raise ConfigError(f"{prefix}{name!r} is not a known {self.kind}{hint}{own}")
        return self._items[name]

    def name_of(self, item: T) -> str:
        """Return the name under which `item` is registered.

        Raises:
            ConfigError: It is not registered.
        """
        # Registered items come first: no other entry point is loaded for them, so none can fail.
        for name in itertools.chain(list(self._items), self):
            if self.get(name) is item:
                return name
        raise ConfigError(f"{item!r} must be registered as a {self.kind} to be written down")

    def __iter__(self) -> Iterator[str]:
        names = set(self._items) | {point.name for point in entry_points(group=self.group)}
        return iter(sorted(names))

    def __contains__(self, name: str) -> bool:
        return name in set(self)
