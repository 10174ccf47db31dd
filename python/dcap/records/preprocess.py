"""Record preprocessors: functions ``record -> record | None`` that run before augmentation, in the config's order.

Owns the extension point. A preprocessor must be pure: the same record gives the same result in every process.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from dcap.core.config import build, check_fields
from dcap.core.errors import ConfigError, RecordError
from dcap.core.registry import Registry, calling
from dcap.records.record import Record


@dataclass(frozen=True)
class PreprocessorConfig:
    """One record preprocessor, run before augmentation."""

    name: str
    """Registered name."""
    params: dict[str, Any] = field(default_factory=dict)
    """Its parameters."""

    def __post_init__(self) -> None:
        check_fields(self)


class Preprocessor(Protocol):
    """The interface of a preprocessor."""

    def __call__(self, record: Record) -> Record | None:
        """Return the record, a changed copy (`dataclasses.replace`), or None to drop it."""
        ...


PREPROCESSORS: Registry[Callable[..., Preprocessor]] = Registry("preprocessor", "dcap.preprocessors")
"""Names to makers: called with the config's ``params``, a maker returns the preprocessor. A dataclass is its own
maker, and its fields are then checked like any part of the config."""


@PREPROCESSORS.register("min_objects")
@dataclass(frozen=True)
class MinObjects:
    """Drops records with too few objects."""

    count: int = 1
    """Fewest objects that a record may have."""

    def __call__(self, record: Record) -> Record | None:
        """Return the record, or None when it has fewer than `count` objects."""
        return record if len(record.shapes) >= self.count else None


@dataclass(frozen=True)
class Chain:
    """Preprocessors in order, each with its name."""

    steps: tuple[tuple[str, Preprocessor], ...] = ()

    @classmethod
    def from_config(cls, configs: Sequence[PreprocessorConfig]) -> Chain:
        """Build the chain.

        Raises:
            ConfigError: A name is not registered, or its parameters are not the ones that it takes.
        """
        steps = []
        for i, config in enumerate(configs):
            where = f"data.preprocessors[{i}]"
            maker = PREPROCESSORS.get(config.name, f"{where}.name")
            steps.append((config.name, _make(maker, config, f"{where}.params")))
        return cls(tuple(steps))

    def apply(self, record: Record) -> tuple[Record | None, str | None]:
        """Run the steps.

        Returns:
            The record and None, or None and the name of the step that dropped it.

        Raises:
            RecordError: A step returns something that is no record.
            PluginError: A step raises.
        """
        for name, step in self.steps:
            with calling(f"{record.origin}: preprocessor {name!r}"):
                result = step(record)
            if result is None:
                return None, name
            if not isinstance(result, Record):
                raise RecordError(
                    f"{record.origin}: preprocessor {name!r} must return a Record or None, not {type(result).__name__}"
                )
            record = result
        return record, None


NO_CHAIN = Chain()


def _make(maker: Callable[..., Preprocessor], config: PreprocessorConfig, where: str) -> Preprocessor:
    if isinstance(maker, type) and dataclasses.is_dataclass(maker):
        made: Preprocessor = build(cast("type[Any]", maker), config.params, where)
        return made
    try:
        inspect.signature(maker).bind(**config.params)
    except TypeError as error:
        raise ConfigError(f"{where} must be what {config.name} takes: {error}") from None
    with calling(f"{where}: {config.name}"):
        return maker(**config.params)
