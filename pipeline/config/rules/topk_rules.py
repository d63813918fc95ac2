"""Say when only the most probable classes of each row are kept, and what such runs can do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.errors import InputError, Problem
from pipeline.files.prediction_tables import SHOWN
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import METRICS, find
from pipeline.methods.topk import Top

if TYPE_CHECKING:
    from pipeline.config.config import Config

MANY = 2000  # exclusive classes: above, predict.top_k auto keeps some
KEPT = 100


def kept(config: Config, classes: int) -> int | None:
    """Return how many classes of each row are kept, None where it is all of them."""
    from pipeline.methods.tasks import TASKS

    asked, one = config.predict.top_k, TASKS[config.data.task].single_label and not config.data.heads
    count = (KEPT if classes > MANY else None) if asked == "auto" else asked
    return count if one and count is not None and count < classes else None


def kept_by(probs_NC: Array) -> int | None:
    """Return how many classes of each row these predictions keep, None where it is all of them."""
    return probs_NC.values_NK.shape[1] if isinstance(probs_NC, Top) else None


def admits(metric: str, count: int | None) -> bool:
    """Tell whether a metric can be computed from the `count` most probable classes of each row."""
    return count is None or find(metric).from_top_k(count)


def check_metric(metric: str, probs_NC: Array) -> None:
    """Raise InputError where a metric needs classes that these predictions do not keep."""
    if not admits(metric, count := kept_by(probs_NC)):
        raise InputError(_needs_all(metric, count))


def problems(config: Config, count: int | None) -> list[Problem]:
    """Return what the config asks that needs more than the `count` classes kept of each row."""
    if count is None:
        return []
    steps, decision, submission = config.ensemble, config.decision, config.submission
    found = [] if admits(config.metric, count) else [_needs_all(config.metric, count)]
    asked = {
        ("ensemble.blender", f"found '{steps.blender}', set mean"): steps.blender not in ("auto", "mean"),
        ("ensemble.compare", f"found {steps.compare}, set null"): bool(set(steps.compare or []) - {"mean"}),
        ("ensemble.calibrate", f"found '{steps.calibrate}', set none"): steps.calibrate not in ("auto", "none"),
        ("ensemble.views", "found 'select', set all"): steps.views == "select",
        ("decision.kind", f"found '{decision.kind}', set plain"): decision.kind not in ("auto", "plain"),
        ("data.pool", "found 'max', set mean"): config.data.predict_id is not None and config.data.pool == "max",
        ("submission.top", f"found {submission.top}, set at most {count}"): (submission.top or 0) > count,
    }
    why = f"predictions keep the {count} most probable classes of a row"
    return found + [Problem(key, f"{text}: {why}", remedy=REMEDY) for (key, text), wrong in asked.items() if wrong]


REMEDY = "or keep all with predict.top_k: null, as far as memory allows, and predict again"


def _needs_all(metric: str, count: int | None) -> Problem:
    family = re.match(r"[a-z]+@", metric)
    fitting = [name for name in METRICS if admits(name, count) and "multiclass" in METRICS[name].tasks]
    choice = f"at most {family[0]}{count}" if family else f"one of {', '.join(fitting)}, map@{SHOWN}"
    found = f"found '{metric}', but predictions keep the {count} most probable classes of a row (predict.top_k)"
    return Problem("metric", found, remedy=f"choose {choice}, {REMEDY}")


def left_out(metrics: Sequence[str], count: int) -> str:
    """Return the note that these scores are missing."""
    names = ", ".join([*metrics, "the AUC of each class"])
    return f"left out: {names}: only the {count} most probable classes of a row are kept (predict.top_k)"
