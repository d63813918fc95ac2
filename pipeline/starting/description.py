"""Read the metric from a competition's description that lies in the folder, with the line that names it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.methods.metrics import find
from pipeline.starting.folder import Folder
from pipeline.starting.kinds import Guess

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 1 << 20
NAMES = ("description", "overview", "readme", "evaluation", "competition", "rules")
HEADING = re.compile(r"#{1,6}\s*\S|\*\*[^*]+\*\*:?\s*$|<h[1-6]|\S[^.]{0,60}\n[=-]{3,}\s*$")
ABOUT = re.compile(r"\b(evaluat|metric|score[ds]?|scoring|judged)", re.IGNORECASE)
PHRASES: tuple[tuple[str, str], ...] = (  # what a rule says -> the metric; what is more special stands first
    (r"(mean\s+)?(columns?|column-?wise|class-?wise|label)\W+(mean\W+)?(roc\W*auc|auc|area under)", "mean_column_auc"),
    (
        r"(mean|average)\W+(of\W+the\W+)?(individual\W+)?(aucs?|areas? under)[^.]*(each|column|class|label)",
        "mean_column_auc",
    ),
    (r"weighted\W+(auc|area under)", "weighted_auc"),
    (r"area under (the )?(roc|receiver)|roc\W*auc|\bauc\b|receiver operating", "roc_auc"),
    (r"quadratic(ally)? weighted kappa|weighted kappa|\bqwk\b|cohen.?s kappa", "quadratic_weighted_kappa"),
    (r"(mean average precision|\bmap)\W*(@|at)\W*(?P<k>\d+)", "map@"),
    (r"\bndcg\W*(@|at)\W*(?P<k>\d+)", "ndcg@"),
    (r"mean reciprocal rank|\bmrr\b", "mrr"),
    (r"average precision|area under the precision", "average_precision"),
    (r"probabilistic f1|\bpf1\b|pF1", "probabilistic_f1"),
    (r"macro\W+(averaged?\W+)?f(1|-?score|.?measure)|f1?\W*macro|macro.averaged f", "f1_macro"),
    (r"micro\W+(averaged?\W+)?f(1|-?score|.?measure)|f1?\W*micro|micro.averaged f", "f1_micro"),
    (r"weighted\W+(averaged?\W+)?f1|f1\W*weighted", "f1_weighted"),
    (r"mean\W+f1|mean f.?score|sample.averaged f|average f1", "f1_samples"),
    (r"\bf1\b|f-?score|f.?measure", "f1"),
    (r"matthews|\bmcc\b", "mcc"),
    (r"brier", "brier"),
    (r"log(arithmic)?\W*loss|cross\W*entropy", "log_loss"),
    (r"root mean squared error|\brmse\b|root.mean.square", "rmse"),
    (r"mean absolute error|\bmae\b", "mae"),
    (r"mean squared error|\bmse\b", "mse"),
    (r"coefficient of determination|\br2\b|r\W?squared|r\^2", "r2"),
    (r"balanced accuracy|(average|mean) per.class accuracy", "balanced_accuracy"),
    (r"(top.?1|classification|categori[sz]ation) error|error rate", "top1_error"),
    (r"accuracy|percentage of correct|fraction of correct", "accuracy"),
)


INSTEAD = {"f1": {"multiclass": "f1_macro", "ordinal": "f1_macro", "multilabel": "f1_micro"}}  # where one says F1 alone


@dataclass(frozen=True)
class Rule:
    """Hold a metric and the line of the description that names it."""

    metric: str
    file: str
    line: str


def read(folder: Folder) -> Rule | None:
    """Return the metric that the description's section on evaluation names first, or None."""
    for path in sorted(folder.texts, key=_rank):
        if not _is_named(path):
            continue
        try:
            with (folder.root / path).open("rb") as stream:
                text = stream.read(MOST_BYTES).decode("utf-8", "replace")
        except OSError:
            continue
        for line in _lines(text):
            if (metric := named(line)) is not None:
                return Rule(metric, path, line)
    return None


def named(line: str) -> str | None:
    """Return the metric that stands first in a line, or None."""
    found = []
    for order, (phrase, metric) in enumerate(PHRASES):
        if match := re.search(phrase, line, re.IGNORECASE):
            found.append((match.start(), order, metric + match["k"] if metric.endswith("@") else metric))
    return min(found)[2] if found else None


def take(rule: Rule, guesses: list[Guess], sample: pd.DataFrame, notes: list[str]) -> None:
    """Take the metric that a description names, and the cells that go with it, as far as it fits the task."""
    task = next((value for key, value, _ in guesses if key == "data.task"), "multiclass")
    name = INSTEAD.get(rule.metric, {}).get(task, rule.metric)
    line = rule.line if len(rule.line) <= 120 else f"{rule.line[:117]}…"
    why = f'{rule.file}: "{line}"'
    metric = find(name)
    if task not in metric.tasks:
        notes.append(f"{why} names {name}, which a {task} task does not have: correct the task or the metric")
        return
    guesses.append(("metric", name, why))
    if sample.shape[1] > 2 or task == "regression" or ("data.sample_submission", None) in [one[:2] for one in guesses]:
        return
    blank = not any(cell.strip() for cell in sample.iloc[:, 1])
    if metric.reads == "ranking" and task != "multilabel":
        guesses.append(("submission.cell", "top", f"{name} reads a ranking"))
        guesses += [] if metric.k is None else [("submission.top", metric.k, f"as {name} reads")]
    elif task == "binary" and metric.reads in ("probabilities", "order"):
        guesses.append(("submission.cell", "probability", f"{name} reads probabilities"))
    elif metric.reads == "labels" and task != "multilabel" and (blank or not any("." in c for c in sample.iloc[:, 1])):
        cell = next((value for key, value, _ in reversed(guesses) if key == "submission.cell"), "label")
        guesses.append(("submission.cell", cell if cell == "class_id" else "label", f"{name} reads labels"))


def _rank(path: str) -> tuple[int, int, str]:
    stem = Path(path).stem.lower()
    return path.count("/"), next((n for n, name in enumerate(NAMES) if name in stem), len(NAMES)), path


def _is_named(path: str) -> bool:
    return path.count("/") < 2 and any(name in Path(path).stem.lower() for name in NAMES)


def _lines(text: str) -> Iterator[str]:
    """Yield the sentences of the sections whose heading is about evaluation, then others that are."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)  # a link's words
    blocks = [" ".join(block.split()) for block in re.split(r"\n\s*\n|\n(?=#)|(?<=\n)(?=[-*] )", plain)]
    here, later = False, []
    for raw, block in zip(re.split(r"\n\s*\n|\n(?=#)|(?<=\n)(?=[-*] )", plain), blocks, strict=True):
        if HEADING.match(raw.strip()):
            here = bool(ABOUT.search(raw.strip().splitlines()[0]))
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", block):
            if here:
                yield sentence
            elif ABOUT.search(sentence):
                later.append(sentence)
    yield from later
