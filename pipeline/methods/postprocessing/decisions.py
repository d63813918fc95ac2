"""Turn finished predictions into what is submitted: labels, or final values.

A decision is `fit(targets_NC, probs_NC, single_label, score) -> params`, `apply(probs_NC, params, single_label) ->
decided_NC` and one line in `DECISIONS`; params fit for JSON. What is decided has the shape of the predictions, so
that a metric scores it as it scores them: one-hot rows where classes exclude each other, cells of 0 and 1 where
columns are independent, final values in a regression. Its gain is real only on rows that it was not fitted on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipeline.methods.arrays import Array
from pipeline.methods.metrics.counts import one_hot, true_cells
from pipeline.methods.postprocessing.thresholds import cut, fit_cuts, fit_threshold, fit_thresholds
from pipeline.methods.topk import Top

Params = dict[str, Any]
Apply = Callable[[Array, Params, bool], Array]
Score = Callable[[Array], float]  # what is decided on the rows fitted on -> score, greater is better
CONSTANTS = (0.02, 0.05, *np.arange(0.1, 1.0, 0.05).round(2).tolist())  # tried as a new class's probability


@dataclass(frozen=True)
class Rules:
    """Hold what every decision obeys and no fit changes."""

    labels: bool = True  # the metric reads decisions; otherwise probabilities and their order are left as they are
    regression: bool = False  # raw values, no probabilities
    least: int = 0  # labels of a row, independent columns
    most: int | None = None
    exclusive: int | None = None  # a class that excludes all others
    new: int | None = None  # a class whose probability is a constant
    clip: tuple[float, float] | None = None  # of values
    threshold: float | None = None  # a fixed one, of the new class too


@dataclass(frozen=True)
class Decision:
    """Hold how a decision is applied, and how it is fitted where it learns anything."""

    apply: Apply
    fit: Callable[[Array, Array, bool, Score], Params] = lambda *_: {}


def decide(probs_NC: Array, rules: Rules, single_label: bool, threshold: float | Array = 0.5) -> Array:
    """Return what needs no fit: argmax, cells of at least the threshold under the rules, or clipped values.

    Where the metric reads no labels, probabilities come back untouched.
    """
    if rules.regression:
        return probs_NC if rules.clip is None else probs_NC.clip(*rules.clip)
    if not rules.labels:
        return probs_NC
    return labels(probs_NC, rules, single_label, threshold)


def labels(probs_NC: Array, rules: Rules, single_label: bool, threshold: float | Array = 0.5) -> Array:
    """Return the labels as cells of 0 and 1, float32; a threshold for each column broadcasts.

    Too few labels are filled up with the most probable ones, of too many those are kept. A label that excludes
    all others stays where it is the most probable of a row's labels, and is dropped otherwise. Of rows that
    hold only their most probable classes the first is the label: they come back as they are.
    """
    if isinstance(probs_NC, Top):
        return probs_NC
    if single_label:
        return _one_hot(probs_NC.argmax(1), probs_NC.shape[1])
    labels_NC = probs_NC >= threshold
    counts_N = labels_NC.sum(1)
    few = np.flatnonzero(counts_N < rules.least)
    _add_most_probable(labels_NC, few, probs_NC[few], rules.least)
    if rules.most is not None:
        many = np.flatnonzero(counts_N > rules.most)
        kept_NC = np.where(labels_NC[many], probs_NC[many], -1)
        labels_NC[many] = False
        _add_most_probable(labels_NC, many, kept_NC, rules.most)
    if rules.exclusive is not None:
        both = np.flatnonzero(labels_NC[:, rules.exclusive] & (labels_NC.sum(1) > 1))
        wins = np.where(labels_NC[both], probs_NC[both], -1).argmax(1) == rules.exclusive
        labels_NC[both, rules.exclusive] = False
        labels_NC[both[wins]] = False
        labels_NC[both[wins], rules.exclusive] = True
    return labels_NC.astype(np.float32)


def plain(rules: Rules) -> Decision:
    """Return the decision that learns nothing."""
    return Decision(lambda probs_NC, _, single_label: decide(probs_NC, rules, single_label))


def threshold(rules: Rules) -> Decision:
    """Return one threshold: of the second of two exclusive classes, or of every independent column."""

    def apply(probs_NC: Array, params: Params, single_label: bool) -> Array:
        if single_label:
            return _one_hot(probs_NC[:, 1] >= params["threshold"], 2)
        return labels(probs_NC, rules, single_label, params["threshold"])

    def fit(targets_NC: Array, probs_NC: Array, single_label: bool, score: Score) -> Params:
        if rules.threshold is not None:
            return {"threshold": rules.threshold}
        cells_NC = probs_NC[:, 1:] if single_label else probs_NC
        tried = partial(_tried, "threshold", apply, probs_NC, single_label, score)
        return {"threshold": fit_threshold(cells_NC, tried)}

    return Decision(apply, fit)


def thresholds(rules: Rules) -> Decision:
    """Return one threshold for each independent column."""

    def apply(probs_NC: Array, params: Params, single_label: bool) -> Array:
        return labels(probs_NC, rules, single_label, np.asarray(params["thresholds"]))

    def fit(targets_NC: Array, probs_NC: Array, single_label: bool, score: Score) -> Params:
        tried = partial(_tried, "thresholds", apply, probs_NC, single_label, score)
        common = fit_threshold(probs_NC, tried)
        return {"thresholds": fit_thresholds(true_cells(targets_NC, single_label), probs_NC, common, tried).tolist()}

    return Decision(apply, fit)


def cuts(rules: Rules) -> Decision:
    """Return points that cut the expected class, or a value, into ordered levels."""

    def apply(probs_NC: Array, params: Params, single_label: bool) -> Array:
        if single_label:
            return _one_hot(cut(expected(probs_NC), params["cuts"]), probs_NC.shape[1])
        levels_K = np.asarray(params["levels"], dtype=np.float64)
        return np.asarray(levels_K[cut(probs_NC[:, 0], params["cuts"])][:, None])

    def fit(targets_NC: Array, probs_NC: Array, single_label: bool, score: Score) -> Params:
        if single_label:
            place_N, true_N = expected(probs_NC), targets_NC.argmax(1).astype(np.float64)
            levels_K, fixed = np.arange(probs_NC.shape[1], dtype=np.float64), {}
        else:
            place_N, true_N = probs_NC[:, 0], targets_NC[:, 0]
            levels_K = np.unique(np.rint(true_N))
            fixed = {"levels": levels_K.tolist()}
        tried = partial(_tried, "cuts", apply, probs_NC, single_label, score, **fixed)
        return {**fixed, "cuts": fit_cuts(place_N, true_N, levels_K, tried).tolist()}

    return Decision(apply, fit)


def rounded(rules: Rules) -> Decision:
    """Return the nearest whole value, or the class nearest to the expected one."""

    def apply(probs_NC: Array, _: Params, single_label: bool) -> Array:
        if single_label:
            return _one_hot(cut(expected(probs_NC), np.arange(probs_NC.shape[1] - 1) + 0.5), probs_NC.shape[1])
        whole_NC = np.rint(probs_NC)
        return whole_NC if rules.clip is None else whole_NC.clip(np.ceil(rules.clip[0]), np.floor(rules.clip[1]))

    return Decision(apply)


def new_class(rules: Rules) -> Decision:
    """Return a constant in place of one class's probability: what no class claims more than that is new."""

    def apply(probs_NC: Array, params: Params, single_label: bool) -> Array:
        if isinstance(probs_NC, Top) and rules.new is not None:
            return probs_NC.put(rules.new, params["probability"])
        changed_NC = probs_NC.copy()
        changed_NC[:, rules.new] = params["probability"]
        return decide(changed_NC, rules, single_label)

    def fit(targets_NC: Array, probs_NC: Array, single_label: bool, score: Score) -> Params:
        if rules.threshold is not None:
            return {"probability": rules.threshold}
        scores = [_tried("probability", apply, probs_NC, single_label, score, value) for value in CONSTANTS]
        return {"probability": CONSTANTS[int(np.nanargmax(scores))] if not np.isnan(scores).all() else 0.5}

    return Decision(apply, fit)


def _tried(
    key: str, apply: Apply, probs_NC: Array, single_label: bool, score: Score, value: Any, **fixed: Any
) -> float:
    """Return the score of what is decided with this value of one parameter."""
    return score(apply(probs_NC, {**fixed, key: value}, single_label))


def _one_hot(classes_N: Array, count: int) -> Array:
    return one_hot(classes_N.astype(np.int64), count).astype(np.float32)


def expected(probs_NC: Array) -> Array:
    """Return the mean class number under each row's probabilities, [N]."""
    return np.asarray(probs_NC @ np.arange(probs_NC.shape[1]) / np.maximum(probs_NC.sum(1), 1e-12))


def _add_most_probable(labels_NC: Array, rows: Array, probs_RC: Array, count: int) -> None:
    """Set the `count` most probable labels of these rows, the first of equals."""
    order_RC = np.argsort(-probs_RC, axis=1, kind="stable")[:, :count]
    labels_NC[rows[:, None], order_RC] = True


def brief(params: Params, most: int = 6) -> str:
    """Return the numbers that were fitted as text, of many the first."""
    numbers = params.get("cuts", params.get("thresholds", [value for value in params.values() if np.isscalar(value)]))
    return " ".join([f"{value:.3g}" for value in numbers[:most]] + (["…"] if len(numbers) > most else []))


DECISIONS: dict[str, Callable[[Rules], Decision]] = {
    "plain": plain,
    "threshold": threshold,
    "thresholds": thresholds,
    "cuts": cuts,
    "round": rounded,
    "new_class": new_class,
}
