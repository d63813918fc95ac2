"""Views of an image for prediction (TTA)."""

from __future__ import annotations


def parse_view(name: str) -> list[str]:
    """Expand a name from the config into the names of single views; raise ValueError where it is unknown."""
    return [name]
