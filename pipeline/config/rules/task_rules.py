"""Refuse what a config asks that its task does not admit: keys that say nothing there, or contradict it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config.rules import decisions
from pipeline.errors import Problem
from pipeline.methods.metrics import METRICS, find
from pipeline.methods.tasks import TASKS, Task
from pipeline.plugins import file_of

if TYPE_CHECKING:
    from pipeline.config.config import Config


def problems(config: Config) -> list[Problem]:
    """Return one line for each key that the config's task does not admit."""
    task = TASKS[config.data.task]
    found = _loss_problems(task, config.loss.name)
    if task.name not in find(config.metric).tasks:
        fitting = [name for name, metric in METRICS.items() if task.name in metric.tasks]
        found.append(Problem("metric", f"found '{config.metric}', a {task.name} task admits {', '.join(fitting)}"))
    found += _blend_problems(task, config) + _target_problems(task, config) + _learning_problems(task, config)
    return found + decisions.problems(task, config)


def _loss_problems(task: Task, name: str) -> list[Problem]:
    """Refuse a loss of another kind of target, and a user's whose activation gives no numbers of this task."""
    if file_of(name) is None:
        known = Problem("loss.name", f"found '{name}', a {task.name} task admits {', '.join(task.losses)}")
        return [] if name in task.losses else [known]
    fitting = (
        ("identity", "sigmoid") if task.regression else ("softmax", "sigmoid") if task.single_label else ("sigmoid",)
    )
    if (found := task.loss(name).activation) in fitting:
        return []
    return [
        Problem(
            "loss.name",
            f"found '{name}' with {found} outputs, a {task.name} task needs {' or '.join(fitting)}",
            remedy=f"set {name.rpartition(':')[2]}.activation",
        )
    ]


def _blend_problems(task: Task, config: Config) -> list[Problem]:
    """Refuse ranks where the metric needs the values that they throw away."""
    fitting = task.blenders(config.metric)
    asked = {"blender": [config.ensemble.blender], "compare": config.ensemble.compare or []}
    why = f"but {config.metric} needs probabilities and ranks are none"
    if task.regression:
        why = f"which blends probabilities, but a {task.name} task has values"
    return [
        Problem(f"ensemble.{key}", f"found '{name}', {why}", remedy=f"choose {', '.join(fitting)}")
        for key, names in asked.items()
        for name in names
        if name != "auto" and not task.allows_blender(name, config.metric)
    ]


def _target_problems(task: Task, config: Config) -> list[Problem]:
    """Refuse keys about the target's columns, labels and bounds that say nothing here."""
    data, several = config.data, len(config.data.targets) > 1
    compose = config.ensemble.compose
    checks = {
        Problem("data.target", f"a {task.name} task has one target column"): task.one_column and several,
        Problem("data.target", f"{task.name} needs several columns, or data.separator for a cell of labels"): (
            not (task.single_label or task.regression or several) and data.separator is None
        ),
        Problem("data.heads", "needs several target columns, each of labels, in a multiclass task"): (
            data.heads and not (several and task.headed)
        ),
        Problem("data.heads", "each head sorts its own labels", remedy="leave data.classes and data.separator out"): (
            data.heads and not (data.classes is None and data.separator is None)
        ),
        Problem(
            "predict.top_k",
            f"keeps some of the classes of a single label, not of a {task.name} task or of heads",
            remedy="set auto",
        ): isinstance(config.predict.top_k, int) and (not task.single_label or data.heads),
        Problem("submission.composite", "needs data.heads"): config.submission.composite is not None and not data.heads,
        Problem("ensemble.compose", "needs data.heads, as its runs' labels together are the composite classes"): (
            compose is not None and not data.heads
        ),
        Problem(
            "ensemble.compose",
            f"found runs for {', '.join(compose or ())}",
            f"one for each column of data.target: {', '.join(data.targets)}",
        ): (data.heads and compose is not None and set(compose) != set(data.targets)),
        Problem("data.empty", "needs data.separator, as only a cell of labels can have none"): (
            data.empty is not None and data.separator is None
        ),
        Problem("data.range", f"bounds values, a {task.name} task has none"): data.range is not None
        and not task.regression,
        Problem("data.range", "expected the smallest value first"): data.range is not None
        and data.range[0] >= data.range[1],
        Problem(
            "data.classes, data.separator", f"a {task.name} task has numbers, no labels", remedy="leave them out"
        ): (task.regression and not (data.classes is None and data.separator is None)),
    }
    return [problem for problem, wrong in checks.items() if wrong]


def _learning_problems(task: Task, config: Config) -> list[Problem]:
    """Refuse corrections of labels and probabilities where there are none, or twice the same."""
    train, loss, steps = config.train, config.loss, config.ensemble
    checks = {
        Problem("loss.label_smoothing", f"smooths probabilities, a {task.name} task has values", remedy="set 0"): (
            task.regression and loss.label_smoothing > 0
        ),
        Problem(
            "loss.class_weights", f"a {task.name} task has no classes", remedy="leave them out, or see data.weight"
        ): (task.regression and loss.class_weights is not None),
        Problem(
            "train.sampling", f"found {train.sampling}, but a {task.name} task has no classes", remedy="choose weighted"
        ): (task.regression and train.sampling in ("balanced", "sqrt")),
        Problem("train.sampling", "weighted draws by data.weight, or that of data.extra", remedy="set one of them"): (
            train.sampling == "weighted" and config.data.weight is None and not config.data.extra
        ),
        Problem(
            "train.sampling",
            f"{train.sampling} and loss.class_weights {loss.class_weights} correct unequal classes twice",
            remedy="leave one out, or take sqrt of both",
        ): (
            train.sampling in ("balanced", "sqrt")
            and loss.class_weights is not None
            and (train.sampling, loss.class_weights) != ("sqrt", "sqrt")
        ),
        Problem(
            "train.disturb_labels", f"redraws labels, a {task.name} task has values", remedy="see train.disturb_values"
        ): (task.regression and train.disturb_labels is not None),
        Problem(
            "train.disturb_values",
            f"adds noise to values, a {task.name} task has labels",
            remedy="see train.disturb_labels",
        ): (not task.regression and train.disturb_values is not None),
        Problem(
            "pseudo.threshold",
            f"asks how probable a label is, a {task.name} task has values",
            remedy="set 0, which takes all rows",
        ): (task.regression and config.pseudo.teacher is not None and config.pseudo.threshold > 0),
        Problem(
            "ensemble.smoothing, ensemble.calibrate",
            f"correct probabilities, a {task.name} task has values",
            remedy="leave them out",
        ): task.regression and (steps.smoothing.alpha != 0 or steps.calibrate != "none"),
    }
    return [problem for problem, wrong in checks.items() if wrong]
