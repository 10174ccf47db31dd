"""Pieces of a validation or an audit as plain data, so that a shard keeps them and a merge reads them back."""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeVar, get_args, get_origin

import msgspec
import numpy as np

from dcap.core.errors import CheckpointError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Return a dataclass of numbers, texts, arrays and counters as plain data."""
    return msgspec.to_builtins(value, enc_hook=_array_to_plain)


def from_plain(tree: Any, kind: type[T]) -> T:
    """Return the value that `to_plain` has made plain.

    Raises:
        CheckpointError: The data is that of something else.
    """
    try:
        return msgspec.convert(tree, kind, dec_hook=_from_plain)
    except (msgspec.ValidationError, KeyError, TypeError, ValueError, OverflowError):
        raise CheckpointError(
            "piece of a shard must be as dcap wrote it, and is damaged. Make the shard anew"
        ) from None


def _array_to_plain(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        raise NotImplementedError(f"no plain form of {type(value)}")
    return {"shape": list(value.shape), "values": value.ravel().tolist()}


def _from_plain(kind: Any, tree: Any) -> Any:
    if get_origin(kind) is Counter:
        return Counter(tree)
    (dtype,) = get_args(get_args(kind)[1])
    return np.array(tree["values"], dtype).reshape(tree["shape"])
