"""What a blender is: fitted to rows of M members whose truth is known, then applied to any rows of them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from pipeline import plugins
from pipeline.methods.arrays import Array
from pipeline.methods.metrics import Metric

SUM_TOLERANCE = 1e-6  # of weights
Many = Sequence[Array] | Array  # M members [N,C], stacked or not


@dataclass(frozen=True)
class Objective:
    """Hold what a blender is fitted to: the rows' truth, the metric, and how the task reads columns.

    `fold_N` names the model that made each row: ranks are taken inside it, penalties chosen across it.
    """

    targets_NC: Array
    metric: Metric
    single_label: bool
    fold_N: Array
    seed: int = 0

    def of(self, rows_N: Array) -> Objective:
        """Return the same on some of the rows."""
        return replace(self, targets_NC=self.targets_NC[rows_N], fold_N=self.fold_N[rows_N])

    def score(self, probs_NC: Array) -> float:
        """Return the metric over all rows together, turned so that greater is better; −inf where undefined."""
        found = self.metric.direction * self.metric.score(self.targets_NC, probs_NC, self.single_label)
        return -math.inf if math.isnan(found) else found


@dataclass(frozen=True)
class Fit:
    """Hold what fitting found; weights in the members' order, params and trace fit for JSON."""

    weights_M: Array
    params: dict[str, Any] = field(default_factory=dict)
    trace: list[dict[str, Any]] = field(default_factory=list)  # of a search: step, member, score


@dataclass(frozen=True)
class Members(Sequence[Array]):
    """Show M members as arrays [N,C] in some order, on some rows, as ranks or not.

    Each is copied only when asked for: a copy of the stack's rows would double the memory of every fit. Ranks
    are those among all rows, or inside whole folds, also where only some rows are shown.
    """

    members: Many
    order: Sequence[int]
    rows_N: Array | None = None
    ranks: bool = False
    fold_N: Array | None = None  # of all rows: rank inside these folds

    def __len__(self) -> int:
        """Return M."""
        return len(self.order)

    def __getitem__(self, index: Any) -> Any:
        """Return one member, or fewer members as lazily."""
        if isinstance(index, slice):
            return replace(self, order=self.order[index])
        probs_NC = self.members[self.order[index]]
        if self.ranks:
            probs_NC = column_ranks(probs_NC, self.fold_N)
        return probs_NC if self.rows_N is None else probs_NC[self.rows_N]


@dataclass(frozen=True)
class Guarded(Sequence[Array]):
    """Show members to a user's function, which cannot write into them: others read the same arrays."""

    members: Sequence[Array]

    def __len__(self) -> int:
        """Return M."""
        return len(self.members)

    def __getitem__(self, index: Any) -> Any:
        """Return one member, or fewer members as guarded."""
        if isinstance(index, slice):
            return Guarded(self.members[index])
        shown = np.asarray(self.members[index]).view()
        shown.flags.writeable = False
        return shown


@dataclass(frozen=True)
class Blender:
    """Hold how to apply a fit, how to find one (None: equal weights), and what both see and promise."""

    function: Callable[[Fit, Sequence[Array], bool], Array]
    fitter: Callable[[Sequence[Array], Objective], Fit] | None = None
    uses_ranks: bool = False  # ranks inside a column instead of probabilities
    simplex: bool = True  # weights are never negative and sum to 1
    scored: int = 0  # blends that a fit scores for each member, about: what makes a search slow
    regression: bool = False  # it takes raw values too, not only probabilities

    @property
    def fitted(self) -> bool:
        """Tell whether it learns from the truth, so that its in-sample score is optimistic."""
        return self.fitter is not None

    def fit(self, members: Many, objective: Objective, rows_N: Array | None = None) -> Fit:
        """Return the fit to these rows of the members [M][N,C] and the objective, or to all; one member needs none.

        Members are sorted by their content first, so that neither ties nor draws depend on their order.
        """
        count, targets_NC, fold_N = len(members), objective.targets_NC, objective.fold_N
        shapes = {probs_NC.shape for probs_NC in members}
        if shapes != {targets_NC.shape} or len(fold_N) != len(targets_NC):
            raise ValueError(f"found members {sorted(shapes)}, targets {targets_NC.shape}, folds {fold_N.shape}")
        if self.fitter is None or count == 1:
            return Fit(equal_weights(count))
        if rows_N is not None:
            rows_N = np.flatnonzero(rows_N) if rows_N.dtype == bool else rows_N
            objective = objective.of(rows_N)
        order = _content_order(Members(members, range(count), rows_N))
        found = self.fitter(Members(members, order, rows_N, self.uses_ranks, fold_N), objective)
        weights_M = np.empty(count)
        weights_M[order] = found.weights_M
        turn = objective.metric.direction  # searches know that greater is better, readers the metric
        trace = [{**step, "member": order[step["member"]], "score": turn * step["score"]} for step in found.trace]
        return Fit(weights_M, found.params, trace)

    def shown(self, members: Many, fold_N: Array | None = None, rows_N: Array | None = None) -> list[Array]:
        """Return the members as the function reads them, on these rows of them or on all."""
        return list(Members(members, range(len(members)), rows_N, self.uses_ranks, fold_N))

    def apply(
        self,
        fit: Fit,
        members: Many,
        single_label: bool,
        fold_N: Array | None = None,
        rows_N: Array | None = None,
    ) -> Array:
        """Return the blend [N,C] float64; cells in [0, 1], single_label rows sum to 1 unless they are ranks.

        One member is its own blend. `fold_N`: the model that made each row (OOF). Ranks are taken inside each
        fold, as the scales of fold models differ; without it over the whole column (test). `rows_N`: those to
        blend; their ranks are still those among all. Raises ValueError where the weights do not fit or leave
        the simplex.
        """
        weights_M = fit.weights_M
        inside = not self.simplex or ((weights_M >= 0).all() and abs(weights_M.sum() - 1) <= SUM_TOLERANCE)
        if weights_M.shape != (len(members),) or not inside or not np.isfinite(weights_M).all():
            expected = f"{len(members)}, none negative, sum 1" if self.simplex else f"{len(members)} numbers"
            raise ValueError(f"found weights {weights_M.tolist()}, expected {expected}")
        shown = self.shown(members, fold_N, rows_N)
        if len(shown) == 1 and not self.uses_ranks:
            return shown[0].astype(np.float64)
        return self.function(fit, shown, single_label)


def _content_order(members: Sequence[Array]) -> list[int]:
    """Return the members' numbers sorted by the sum of their bits, by a digest where sums are equal: it is slow."""
    sums = [_bits(probs_NC) for probs_NC in members]
    often = Counter(sums)
    keys = [
        (total, hashlib.blake2b(np.ascontiguousarray(members[m]).data).digest() if often[total] > 1 else b"")
        for m, total in enumerate(sums)
    ]
    return sorted(range(len(keys)), key=keys.__getitem__)


def _bits(probs_NC: Array) -> int:
    return int(np.ascontiguousarray(probs_NC).view(np.uint32).sum(dtype=np.uint64))


def equal_weights(members: int) -> Array:
    """Return the same weight for each member, [M] float64."""
    return np.full(members, 1 / members)


def column_ranks(probs_NC: Array, fold_N: Array | None = None) -> Array:
    """Return (rank − ½) / n of each cell in its column, inside each fold if given; ties share the mean."""
    import pandas as pd

    frame = pd.DataFrame(np.asarray(probs_NC))
    if fold_N is None:
        return (frame.rank().to_numpy(np.float64) - 0.5) / len(frame)
    _, index_N, sizes = np.unique(fold_N, return_inverse=True, return_counts=True)
    return (frame.groupby(index_N).rank().to_numpy(np.float64) - 0.5) / sizes[index_N][:, None]


FLAGS = {"uses_ranks": False, "simplex": True, "values": False}  # a plugin's attributes, where it has none


def plugin(name: str, function: Callable[..., Any]) -> Blender:
    """Return the blender of a plugin, called as function(members, weights_M, single_label) -> probs_NC.

    Its attributes say the rest: `fit(members, objective) -> weights_M` where it learns from the truth, whose
    `objective.score(probs_NC)` is better the greater; `uses_ranks`, `simplex` (True where absent) and `values`, true
    where it takes a regression's. Raises ValueError where one is of another kind.
    """
    flags = {flag: plugins.attribute(name, function, flag, default, (True, False)) for flag, default in FLAGS.items()}
    flags["regression"] = flags.pop("values")
    fit = getattr(function, "fit", None)
    if fit is not None and not callable(fit):
        found = f"found '{name}', {name.rpartition(':')[2]}.fit is {fit!r}"
        raise ValueError(f"{found}, expected a function (members, objective) -> weights_M")
    fitter = fit and partial(_plugin_fit, fit, name, flags["simplex"])
    return Blender(partial(_plugin_blend, function, name), fitter, **flags)


def _plugin_blend(
    function: Callable[..., Any], name: str, fit: Fit, members: Sequence[Array], single_label: bool
) -> Array:
    given = list(Guarded(members)), fit.weights_M.copy(), single_label
    made = plugins.call(name, "blend(members, weights_M, single_label)", _floats, function, *given)
    if made.shape != members[0].shape or not np.isfinite(made).all():
        what = "NaN or infinity" if made.shape == members[0].shape else f"the shape {made.shape}"
        raise plugins.returned(name, what, f"finite numbers of the shape {members[0].shape}")
    return np.asarray(made)


def _plugin_fit(
    fit: Callable[..., Any], name: str, simplex: bool, members: Sequence[Array], objective: Objective
) -> Fit:
    shown = replace(objective, targets_NC=Guarded([objective.targets_NC])[0])
    weights_M = plugins.call(f"{name}.fit", "fit(members, objective)", _floats, fit, Guarded(members), shown)
    if weights_M.shape != (len(members),) or not np.isfinite(weights_M).all():
        raise plugins.returned(f"{name}.fit", f"weights {weights_M.tolist()}", f"{len(members)} finite numbers")
    if simplex and ((weights_M < 0).any() or abs(weights_M.sum() - 1) > SUM_TOLERANCE):
        remedy = f"none negative, with the sum 1; or set {name.rpartition(':')[2]}.simplex = False"
        raise plugins.returned(f"{name}.fit", f"weights {weights_M.tolist()}", remedy)
    return Fit(weights_M)


def _floats(function: Callable[..., Any], *given: Any) -> Array:
    return np.asarray(function(*given), dtype=np.float64)
