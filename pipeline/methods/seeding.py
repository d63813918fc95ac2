"""Derive every random draw from keys, never from the state of a worker or a process."""

from __future__ import annotations

import hashlib

import numpy as np


def key(*parts: int | str) -> int:
    """Return 128 bits that depend on all parts, each told apart from its neighbours."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def rng(*parts: int | str) -> np.random.Generator:
    """Return the generator of these keys, such as (seed, fold, epoch, "augment", image id).

    Philox takes the key as it is, which is several times faster than mixing a seed sequence.
    """
    return np.random.Generator(np.random.Philox(key=key(*parts)))


def seed64(*parts: int | str) -> int:
    """Return 63 bits of the key, for libraries that take an integer seed."""
    return key(*parts) & (2**63 - 1)
