"""Tell a damaged file of tensors: the SHA-256 over its tensors and its JSON stands in the file itself.

Both are one value of the file's metadata: safetensors writes several in an order that differs from process to process,
and the same training is to give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.files import checksums
from pipeline.files.checksums import DIGEST

META = "meta"  # the key of the file's metadata
CONTENT = "content"  # a key of its value, beside its digest


def sealed(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> dict[str, str]:
    """Return the file's metadata for contiguous CPU tensors and the JSON beside them."""
    content = json.loads(json.dumps(meta))  # keys become texts, by which they are sorted when it is read
    return {META: json.dumps({CONTENT: content, DIGEST: digest(tensors, content)}, sort_keys=True)}


def digest(tensors: Mapping[str, Tensor], content: Any) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of contiguous CPU tensors and the JSON beside them."""
    parts = {
        name: (str(value.dtype), value.shape, value.reshape(-1).view(torch.uint8).numpy().data)
        for name, value in tensors.items()
    }
    return checksums.content_hash(content, parts)


def content_of(metadata: Mapping[str, str]) -> Any:
    """Return the JSON that `sealed` took; files of earlier versions hold it alone."""
    held = json.loads(metadata[META])
    return held[CONTENT] if isinstance(held, dict) and held.keys() == {CONTENT, DIGEST} else held


def differs(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> str:
    """Return what is wrong with a file by its checksum, blank where nothing is, or where it is not a file of ours.

    Files of earlier versions have none. One of its two keys without the other is ours with a bit flipped in a name.
    """
    if META not in (metadata or {}):
        return ""
    assert metadata is not None
    held = json.loads(metadata[META])
    known = held.keys() & {CONTENT, DIGEST} if isinstance(held, dict) else set()
    if not known:
        return ""
    if held.keys() != {CONTENT, DIGEST}:
        return f"metadata {', '.join(sorted(held))}"
    return "" if held[DIGEST] == digest(tensors, held[CONTENT]) else "its SHA-256 differs"
