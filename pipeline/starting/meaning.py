"""Know what words in labels mean: nothing, a step of a scale, the presence or absence of what is looked for."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.competition.cells import is_nothing
from pipeline.starting.folder import words

POSITIVE = {
    *("yes", "true", "positive", "abnormal", "malignant", "sick", "diseased", "infected", "defective", "defect"),
    *("present", "fake", "anomaly", "damaged"),
}
NEGATIVE = {  # the absence of what is looked for
    *("no", "none", "normal", "negative", "healthy", "benign", "background", "control", "clean", "good", "ok", "cover"),
    *("false", "absent", "empty", "real", "without", "non", "not", "clear", "uninfected", "undamaged"),
}
SCALES = (  # ordered words, of which some may be absent
    ("very low", "low", "medium", "high", "very high"),
    ("low", "moderate", "high"),
    ("none", "no", "normal", "minimal", "very mild", "mild", "moderate", "severe", "proliferative", "very severe"),
    ("no dr", "mild", "moderate", "severe", "proliferative dr"),
    ("tiny", "small", "medium", "large", "huge"),
    ("very poor", "poor", "fair", "average", "good", "very good", "excellent"),
    ("bad", "ok", "good"),
    ("first", "second", "third", "fourth", "fifth"),
    ("i", "ii", "iii", "iv", "v"),
    ("early", "middle", "late"),
    ("young", "middle", "old"),
)


def is_blank(cell: str) -> bool:
    """Tell whether a cell holds no label: nothing, or what a program wrote for nothing."""
    return is_nothing(cell.strip())


def is_negative(label: str) -> bool:
    """Tell whether a label is the absence of what is looked for."""
    return bool(NEGATIVE & set(words(label)))


def positive(label: str, asked: str) -> int:
    """Return how clearly a label is what the column asks for: above 0 it is, below it is its absence."""
    own, wanted = set(words(label)), set(words(asked))
    if label.lower() == asked.lower() or (own and own <= wanted):
        return 3
    if NEGATIVE & own:
        return -1
    return 1 if POSITIVE & own else 0


def scale(labels: Sequence[str]) -> list[str] | None:
    """Return the labels in their order where they are words of a scale, at least three."""
    by_name = {label.lower().replace("_", " "): label for label in labels}
    for ordered in SCALES:
        if len(by_name) >= 3 and set(by_name) <= set(ordered):
            return [by_name[word] for word in ordered if word in by_name]
    return None
