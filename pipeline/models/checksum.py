"""Tell a damaged file of tensors: the SHA-256 over its tensors and its JSON stands in the file itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

META, DIGEST = "meta", "sha256"  # keys of the file's metadata


def digest(tensors: Mapping[str, Tensor], meta: str) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of contiguous CPU tensors and the JSON beside them."""
    found = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        value = tensors[name]
        found.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def differs(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> str:
    """Return what is wrong with a file by its checksum, blank where nothing is, or where it is not a file of ours.

    Files of earlier versions hold the JSON alone. Any other key is one of ours with a bit flipped in its name.
    """
    given = dict(metadata or {})
    if META not in given or given.keys() == {META}:
        return ""
    if given.keys() != {META, DIGEST}:
        return f"metadata {', '.join(sorted(given))}"
    return "" if given[DIGEST] == digest(tensors, given[META]) else "its SHA-256 differs"
