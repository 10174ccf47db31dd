"""Counter-based randomness: a generator is a pure function of a few integers, so order and workers never matter.

To choose some of many things, their hashes are compared: what is chosen then hardly changes when things are added.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(*key: int) -> np.random.Generator:
    """Return a Philox generator that depends on `key` alone, such as ``(seed, epoch, index, purpose)``.

    Args:
        *key: Non-negative integers below 2**64; at least one.

    Raises:
        ValueError: A key is negative or there is none.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    if not key or min(key) < 0:
        raise ValueError(f"key must be one or more integers >= 0, not {key}")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(list(key))))


def keyed_hash(data: bytes, seed: int) -> int:
    """Return a whole number below 2**64 that depends on `data` and `seed` alone; all are equally probable.

    Args:
        data: What is hashed, such as a path.
        seed: Any integer.
    """
    return int.from_bytes(hashlib.blake2b(b"%d:%b" % (seed, data), digest_size=8).digest(), "little")
