"""Refuse what a config asks that its task does not admit: keys that say nothing there, or contradict it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config.rules import decisions
from pipeline.methods.metrics import METRICS, find
from pipeline.methods.tasks import TASKS, Task
from pipeline.plugins import file_of

if TYPE_CHECKING:
    from pipeline.config.config import Config


def problems(config: Config) -> list[str]:
    """Return one line for each key that the config's task does not admit."""
    task = TASKS[config.data.task]
    found = _loss_problems(task, config.loss.name)
    if task.name not in find(config.metric).tasks:
        fitting = [name for name, metric in METRICS.items() if task.name in metric.tasks]
        found.append(f"metric: found '{config.metric}', a {task.name} task admits {', '.join(fitting)}")
    found += _blend_problems(task, config) + _target_problems(task, config) + _learning_problems(task, config)
    return found + decisions.problems(task, config)


def _loss_problems(task: Task, name: str) -> list[str]:
    """Refuse a loss of another kind of target, and a user's whose activation gives no numbers of this task."""
    if file_of(name) is None:
        known = f"loss.name: found '{name}', a {task.name} task admits {', '.join(task.losses)}"
        return [] if name in task.losses else [known]
    fitting = (
        ("identity", "sigmoid") if task.regression else ("softmax", "sigmoid") if task.single_label else ("sigmoid",)
    )
    if (found := task.loss(name).activation) in fitting:
        return []
    return [
        f"loss.name: found '{name}' with {found} outputs, a {task.name} task needs {' or '.join(fitting)}; "
        f"set {name.rpartition(':')[2]}.activation"
    ]


def _blend_problems(task: Task, config: Config) -> list[str]:
    """Refuse ranks where the metric needs the values that they throw away."""
    fitting = task.blenders(config.metric)
    asked = {"blender": [config.ensemble.blender], "compare": config.ensemble.compare or []}
    why = f"but {config.metric} needs probabilities and ranks are none"
    if task.regression:
        why = f"which blends probabilities, but a {task.name} task has values"
    return [
        f"ensemble.{key}: found '{name}', {why}; choose {', '.join(fitting)}"
        for key, names in asked.items()
        for name in names
        if name != "auto" and not task.admits(name, config.metric)
    ]


def _target_problems(task: Task, config: Config) -> list[str]:
    """Refuse keys about the target's columns, labels and bounds that say nothing here."""
    data, several = config.data, len(config.data.targets) > 1
    compose = config.ensemble.compose
    checks = {
        f"data.target: a {task.name} task has one target column": task.one_column and several,
        f"data.target: {task.name} needs several columns, or data.separator for a cell of labels": (
            not (task.single_label or task.regression or several) and data.separator is None
        ),
        "data.heads: needs several target columns, each of labels, in a multiclass task": (
            data.heads and not (several and task.headed)
        ),
        "data.heads: each head sorts its own labels; leave data.classes and data.separator out": (
            data.heads and not (data.classes is None and data.separator is None)
        ),
        f"predict.top_k: keeps some of one row's exclusive classes, not of a {task.name} task or of heads; "
        "set auto": isinstance(config.predict.top_k, int) and (not task.single_label or data.heads),
        "submission.composite: needs data.heads": config.submission.composite is not None and not data.heads,
        "ensemble.compose: needs data.heads, as its runs' labels together are the composite classes": (
            compose is not None and not data.heads
        ),
        f"ensemble.compose: found runs for {', '.join(compose or ())}, expected one for each column of "
        f"data.target: {', '.join(data.targets)}": (
            data.heads and compose is not None and set(compose) != set(data.targets)
        ),
        "data.empty: needs data.separator, as only a cell of labels can have none": (
            data.empty is not None and data.separator is None
        ),
        f"data.range: bounds values, a {task.name} task has none": data.range is not None and not task.regression,
        "data.range: expected the smallest value first": data.range is not None and data.range[0] >= data.range[1],
        f"data.classes, data.separator: a {task.name} task has numbers, no labels; leave them out": (
            task.regression and not (data.classes is None and data.separator is None)
        ),
    }
    return [problem for problem, wrong in checks.items() if wrong]


def _learning_problems(task: Task, config: Config) -> list[str]:
    """Refuse corrections of labels and probabilities where there are none, or twice the same."""
    train, loss, steps = config.train, config.loss, config.ensemble
    checks = {
        f"loss.label_smoothing: smooths probabilities, a {task.name} task has values; set 0": (
            task.regression and loss.label_smoothing > 0
        ),
        f"loss.class_weights: a {task.name} task has no classes; leave them out, or see data.weight": (
            task.regression and loss.class_weights is not None
        ),
        f"train.sampling: found {train.sampling}, but a {task.name} task has no classes; choose weighted": (
            task.regression and train.sampling in ("balanced", "sqrt")
        ),
        "train.sampling: weighted draws by data.weight, or that of data.extra; set one of them": (
            train.sampling == "weighted" and config.data.weight is None and not config.data.extra
        ),
        f"train.sampling: {train.sampling} and loss.class_weights {loss.class_weights} correct unequal "
        "classes twice; leave one out, or take sqrt of both": (
            train.sampling in ("balanced", "sqrt")
            and loss.class_weights is not None
            and (train.sampling, loss.class_weights) != ("sqrt", "sqrt")
        ),
        f"train.disturb_labels: redraws labels, a {task.name} task has values; see train.disturb_values": (
            task.regression and train.disturb_labels is not None
        ),
        f"train.disturb_values: adds noise to values, a {task.name} task has labels; see train.disturb_labels": (
            not task.regression and train.disturb_values is not None
        ),
        f"pseudo.threshold: asks how probable a label is, a {task.name} task has values; set 0, which takes all rows": (
            task.regression and config.pseudo.teacher is not None and config.pseudo.threshold > 0
        ),
        f"ensemble.smoothing, ensemble.calibrate: correct probabilities, a {task.name} task has values; "
        "leave them out": task.regression and (steps.smoothing.alpha != 0 or steps.calibrate != "none"),
    }
    return [problem for problem, wrong in checks.items() if wrong]
