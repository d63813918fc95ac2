"""Augmentation presets as lists of Albumentations transforms."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, list[dict[str, Any]]] = {"none": [], "medium": [{"HorizontalFlip": {"p": 0.5}}]}
