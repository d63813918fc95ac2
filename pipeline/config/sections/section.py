"""What every section of a config shares: strictness, and the kinds of values that keys take."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.errors import lookup
from pipeline.plugins import file_of

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Layers = Annotated[int, Field(ge=1, strict=True)]
FirstShare = Annotated[float, Field(gt=0, lt=1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy and scikit-learn take
Size = Count | tuple[Count, Count]  # pixels; one number is a square, two are height, width
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


def one_of(what: str, *tables: Mapping[str, object], own: Callable[[str], object] | None = None) -> AfterValidator:
    """Refuse a name that stands in none of the tables, as they are when the config is read.

    `own` finds a user's own, FILE.py:function, where that is possible.
    """

    def known(value: str) -> str:
        if own is not None and file_of(value) is not None:
            own(value)
        else:
            lookup({name: None for table in tables for name in table}, value, what)
        return value

    return AfterValidator(known)


def _with_text_keys(tree: Any) -> Any:
    """Write keys that are numbers, truth values or null as YAML does: they stay the same in a dumped config."""
    if isinstance(tree, list):
        return [_with_text_keys(value) for value in tree]
    if not isinstance(tree, dict):
        return tree
    names = {key: key if isinstance(key, str) else json.dumps(key, default=str) for key in tree}
    return {names[key]: _with_text_keys(value) for key, value in tree.items()}


Keyed = TypeVar("Keyed")
TextKeys = Annotated[Keyed, BeforeValidator(_with_text_keys)]


def square(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return a size as (height, width)."""
    return (size, size) if isinstance(size, int) else size
