"""Several target columns predicted together: a head for each, side by side in one row of probabilities.

A head is (name, start, stop): its classes' columns, called `NAME=CLASS`; each head sums to 1. Their product
are the composite classes, in mixed-radix order: the last head's class changes first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product as combinations
from math import prod

from pipeline.methods.arrays import Array

Heads = tuple[tuple[str, int, int], ...]  # none: all columns belong together


def name(head: str, label: str) -> str:
    """Return what a head's class is called among those of all heads."""
    return f"{head}={label}"


def split(classes: Sequence[str], names: Sequence[str]) -> Heads:
    """Return the heads, in the order of their names, from classes `NAME=CLASS` in that order.

    Raises ValueError where a class belongs to no head.
    """
    found, start = [], 0
    for head in names:
        stop = start
        while stop < len(classes) and classes[stop].startswith(f"{head}="):
            stop += 1
        found.append((head, start, stop))
        start = stop
    if start < len(classes):
        raise ValueError(f"found the class '{classes[start]}', expected one of the heads {', '.join(names)}")
    return tuple(found)


def count(heads: Heads) -> int:
    """Return how many composite classes there are."""
    return prod(stop - start for _, start, stop in heads)


def composite_names(classes: Sequence[str], heads: Heads, template: str | None) -> tuple[str, ...]:
    """Return the names of the composite classes: the template filled with a class of each head, or 0, 1, ….

    Raises ValueError where the template names another field than a head, or two combinations read alike.
    """
    if template is None:
        return tuple(str(number) for number in range(count(heads)))
    pieces = re.split(r"\{([^{}]*)\}", template)  # texts and, between them, fields
    if unknown := sorted(set(pieces[1::2]) - {head for head, _, _ in heads}):
        known = ", ".join(f"{{{head}}}" for head, _, _ in heads)
        raise ValueError(f"found {{{unknown[0]}}}, expected the heads {known}")
    labels = [[text.removeprefix(f"{head}=") for text in classes[start:stop]] for head, start, stop in heads]
    found = []
    for chosen in combinations(*labels):
        cells = {head: label for (head, _, _), label in zip(heads, chosen, strict=True)}
        found.append("".join(cells[piece] if n % 2 else piece for n, piece in enumerate(pieces)))
    if len(set(found)) < len(found):
        twice = next(text for text in found if found.count(text) > 1)
        raise ValueError(f"two combinations of classes read '{twice}', expected every head in the template")
    return tuple(found)


def composite(probs_NC: Array, heads: Heads) -> Array:
    """Return the product over the heads, [N,…,K], in the dtype given; heads count as independent.

    Any axes may lie before the classes. Also for targets: of one-hot heads it is one-hot.
    """
    found = probs_NC[..., heads[0][1] : heads[0][2]]
    for _, start, stop in heads[1:]:
        found = (found[..., :, None] * probs_NC[..., None, start:stop]).reshape(*probs_NC.shape[:-1], -1)
    return found
