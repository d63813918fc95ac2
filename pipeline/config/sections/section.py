"""What every section of a config shares: strictness, what a key affects, and the kinds of values that keys take."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Flag, auto
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

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


class Affects(Flag):
    """Say which results change with a key: the one place from which every list of keys is derived.

    What a result is made from is hashed beside the keys (tables, pixels, weights, predictions), so a key names only
    the results that read it themselves.
    """

    NOTHING = 0  # names, places, speed, what is printed
    ROWS = auto()  # which rows, ids and labels the tables give; the fold table's hashes tell
    IMAGES = auto()  # pixels; their digest tells
    FOLDS = auto()  # who validates whom, by which labels
    CHECK = auto()  # the summary of the input
    TRAINING = auto()  # weights
    EPOCH = auto()  # which epoch is kept, or the last one, where validated rows decide it
    NETWORK = auto()  # what saved weights mean: with another value they would load and predict nonsense
    PREDICTION = auto()
    SCORE = auto()
    SUBMISSION = auto()  # the blend, its decision, and the file that is submitted
    STUDY = auto()  # what all trials of a study have in common


def key(
    default: Any,
    affects: Affects,
    description: str,
    *,
    later: bool = False,
    plugin: Callable[[str], object] | None = None,
    **limits: Any,
) -> Any:
    """Declare a key of a section: its default (`...` where it has none), what it affects, its meaning.

    `later`: it came after the first runs, so at its default it is in no fingerprint and older runs stay valid.
    `plugin`: it may name FILE.py:function, which this finds, or refuses. `limits` are pydantic's.
    """
    facts: Any = {"affects": affects, "later": later, "plugin": plugin}
    return Field(default, description=description, json_schema_extra={"facts": facts}, **limits)


class Item(BaseModel):
    """One entry of a key that takes a list or a mapping of them; what it affects is said at that key."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Section(Item):
    """A section of the config; each of its keys says what it affects, or the import fails."""

    @model_validator(mode="after")
    def _made(self, info: ValidationInfo) -> Section:
        """Show the section, before its keys are compared with each other, to whoever looks at a config in which some
        contradict each other."""
        if isinstance(info.context, list):
            info.context.append(self)
        return self

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            extra, nested = field.json_schema_extra, section_of(field.annotation)
            if nested is None and not (isinstance(extra, dict) and "facts" in extra and field.description):
                raise TypeError(
                    f"{cls.__name__}.{name}: says neither what it affects nor what it means; declare it by key"
                )


def section_of(annotation: Any) -> type[Section] | None:
    """Return the section that a field holds, or None where it is a key with a value."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def one_of(what: str, *tables: Mapping[str, object], plugin: bool = False) -> AfterValidator:
    """Refuse a name that stands in none of the tables, as they are when the config is read.

    Where a user's own may stand (`plugin`), FILE.py:function is taken as it is: whoever validates loads no code.
    """

    def known(value: str) -> str:
        if not (plugin and file_of(value) is not None):
            lookup({name: None for table in tables for name in table}, value, what)
        return value

    return AfterValidator(known)


def found_by(find: Callable[[str], object]) -> AfterValidator:
    """Refuse a name that `find` refuses; FILE.py:function is taken as it is, as in `one_of`."""

    def known(value: str) -> str:
        if file_of(value) is None:
            find(value)
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
