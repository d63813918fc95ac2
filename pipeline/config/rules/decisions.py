"""Say which decisions a config asks for, admits, and makes without a fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import MismatchError, Problem, some
from pipeline.files.atomic import read_json
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import find
from pipeline.methods.postprocessing.decisions import DECISIONS, Rules, decide, labels
from pipeline.methods.tasks import TASKS, Task

if TYPE_CHECKING:
    from pipeline.config.config import Config


def rules(config: Config, classes: Sequence[str]) -> Rules:
    """Return what every decision of this config obeys."""
    own, number = config.decision, {name: c for c, name in enumerate(classes)}
    return Rules(
        labels=find(config.metric).reads == "labels",
        regression=_task(config).regression,
        least=own.min_labels,
        most=own.max_labels,
        exclusive=number.get(own.alone or ""),
        new=number.get(own.new_class or ""),
        clip=own.clip or config.data.range,
        threshold=own.threshold,
    )


def candidates(config: Config) -> list[str]:
    """Return the kinds that are tried beside the plain one; the only one of them is taken where it was asked for."""
    own, task = config.decision, _task(config)
    if own.new_class is not None:
        return ["new_class"]
    if own.kind != "auto":
        return [] if own.kind == "plain" else [own.kind]
    return [kind for kind in task.decisions if kind != "new_class" and _rewarded(kind, config)]


def asked(config: Config) -> str:
    """Return the kind that was asked for; `auto` leaves it to what is found."""
    return "new_class" if config.decision.new_class is not None else config.decision.kind


def obliges(config: Config) -> bool:
    """Tell whether even the plain decision differs from argmax, cells of at least ½ and untouched values."""
    own = config.decision
    bounds = own.clip or config.data.range if _task(config).regression else None
    return own.min_labels > 0 or own.max_labels is not None or own.alone is not None or bounds is not None


def unfitted(config: Config, classes: Sequence[str], probs_NC: Array) -> Array:
    """Return labels or final values by the rules alone, whatever the metric reads."""
    task, own = _task(config), rules(config, classes)
    if task.regression:
        return decide(probs_NC, own, task.single_label)
    fixed = own.threshold if config.decision.kind == "threshold" and own.threshold is not None else 0.5
    if task.single_label and config.decision.kind == "threshold" and own.threshold is not None:
        return np.stack([probs_NC[:, 1] < fixed, probs_NC[:, 1] >= fixed], axis=1).astype(np.float32)
    return labels(probs_NC, own, task.single_label, fixed)


def of_run(folder: Path, config: Config, classes: Sequence[str], probs_NC: Array) -> Array | None:
    """Return what the run decided when it was blended alone, applied to new rows; None where nothing was fitted.

    What was fitted to calibrated probabilities, to a blend of several runs or to other classes says nothing here.
    """
    report = _blended(folder)
    if report is None:
        return None
    found, calibrated = report.get("decision") or {}, report.get("calibration") or {"chosen": "none"}
    alone = len(report["members"]) == 1 and calibrated["chosen"] == "none"
    params = found.get("params", {}).get(report["auto"]["taken"] if views_of_run(folder, config) else "tta")
    if params is None or not alone or found["asked"] != asked(config):
        return None
    if len(params.get("thresholds", classes)) != len(classes):
        return None
    step = DECISIONS[found["chosen"]](rules(config, classes))
    return step.apply(probs_NC, params, _task(config).single_label)


def views_of_run(folder: Path, config: Config) -> list[str] | None:
    """Return the views with which the run, or each of its seeds, was submitted where `submission.variant` is auto.

    None: it was not asked, the views are others now, or its seeds differ.
    """
    report = _blended(folder) if config.submission.variant == "auto" else None
    found = [] if report is None else list(report.get("auto", {"members": {}})["members"].values())
    own = [one.run_dir.name for one in config.per_seed]
    if report is None or report["members"] not in (own, [folder.resolve().name]):
        return None
    views = {tuple(one["views"]) for one in found if set(one["tta"]) == set(config.tta)}
    return list(views.pop()) if len(views) == 1 and len(found) == len(report["members"]) else None


def _blended(folder: Path) -> dict[str, Any] | None:
    path = folder / "ensemble.json"
    if not path.is_file():
        return None
    report = read_json(path)
    if not isinstance(report, dict) or not isinstance(report.get("members"), list):
        remedy = "make it again with: foldline ensemble"
        raise MismatchError(Problem(str(path), "damaged (it says of no members)", remedy=remedy))
    return report


def problems(task: Task, config: Config) -> list[Problem]:
    """Return what `decision` asks that the task or the metric does not admit."""
    own, several = config.decision, not (task.single_label or task.regression)
    kinds = ["auto", "plain", *(kind for kind in task.decisions if kind != "new_class")]
    found = []
    if own.kind not in kinds:
        found.append(Problem("decision.kind", f"found '{own.kind}', a {task.name} task admits {', '.join(kinds)}"))
    elif own.kind in task.decisions and not (_rewarded(own.kind, config) or task.regression):
        reads = find(config.metric).reads
        found.append(
            Problem(
                "decision.kind", f"found '{own.kind}', but {config.metric} reads {reads}, no labels", remedy="set auto"
            )
        )
    limits = own.max_labels is not None and own.max_labels < own.min_labels
    checks = {
        Problem("decision.min_labels, max_labels, alone", f"a {task.name} task has one label, or value, in a row"): (
            not several and (own.min_labels > 0 or own.max_labels is not None or own.alone is not None)
        ),
        Problem("decision.max_labels", f"found {own.max_labels}", f"at least min_labels, {own.min_labels}"): limits,
        Problem("decision.new_class", f"a {task.name} task, or one of several heads, has none"): (
            own.new_class is not None and ("new_class" not in task.decisions or config.data.heads)
        ),
        Problem(
            "decision.threshold",
            "fixes decision.kind threshold, or the probability of decision.new_class",
            remedy="set one",
        ): (own.threshold is not None and own.kind != "threshold" and own.new_class is None),
        Problem("decision.clip", f"bounds values, a {task.name} task has none"): own.clip is not None
        and not task.regression,
        Problem("decision.clip", "expected the smallest value first"): own.clip is not None
        and own.clip[0] >= own.clip[1],
        Problem("decision.kind", "cuts need one target column"): own.kind == "cuts"
        and _columns(config) > 1
        and task.regression,
    }
    return found + [problem for problem, wrong in checks.items() if wrong]


def class_problems(config: Config, classes: Sequence[str]) -> list[Problem]:
    """Return which classes that `decision` names are none."""
    named = {"alone": config.decision.alone, "new_class": config.decision.new_class}
    return [
        Problem(
            f"decision.{key}",
            f"unknown class '{name}'",
            remedy=f"known: {some(classes)}; data.classes can name one that has no rows",
        )
        for key, name in named.items()
        if name is not None and name not in classes
    ]


def _rewarded(kind: str, config: Config) -> bool:
    """Tell whether the metric reads what such a decision makes, or rewards it all the same."""
    if kind == "cuts" and _task(config).regression and _columns(config) > 1:
        return False
    metric = find(config.metric)
    return metric.reads == "labels" or kind in metric.rewards


def _columns(config: Config) -> int:
    return len(config.data.targets)


def _task(config: Config) -> Task:
    return TASKS[config.data.task]
