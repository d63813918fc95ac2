"""Stack members, their views weighted where that surely helps, and blend the stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from pipeline.blending.judging import Crossed, Judge
from pipeline.blending.member import Member
from pipeline.methods.arrays import Array
from pipeline.methods.blenders import Fit, Many
from pipeline.methods.blenders import find as find_blender

VIEWS_BY = "greedy"  # the blender that weights views


@dataclass(frozen=True)
class Stack:
    """Give the members' predictions as the fits without one part see them (None: the fits to all rows)."""

    members: Sequence[Member]
    single_label: bool
    weighted: Mapping[str, Crossed[Fit]]  # member -> weights of the views of its tta, where they are kept

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.members)

    def learns(self, kind: str) -> bool:
        """Tell whether the predictions of `plain` or `tta` were themselves fitted."""
        return kind == "tta" and bool(self.weighted)

    def oof(self, kind: str, part: int | None) -> list[Array]:
        """Return M times [N,C]; not stacked, as that would copy all of them."""
        return [self._oof(member, kind, part) for member in self.members]

    def test(self, kind: str) -> list[Array]:
        """Return M times [T,C]."""
        blender = find_blender(VIEWS_BY)
        return [
            blender.apply(self.weighted[member.name].final, _views(member.test_VTC), self.single_label)
            if kind == "tta" and member.name in self.weighted
            else member.test[kind]
            for member in self.members
        ]

    def single(self, kind: str, member: Member) -> Array:
        """Return one member's cross-fitted OOF [N,C]."""
        weighted = kind == "tta" and member.name in self.weighted
        return self.weighted[member.name].cross_NC if weighted else member.oof[kind]

    def without(self, name: str) -> Stack:
        """Return the stack of the others."""
        return replace(self, members=[member for member in self.members if member.name != name])

    def _oof(self, member: Member, kind: str, part: int | None) -> Array:
        if kind != "tta" or member.name not in self.weighted:
            return member.oof[kind]
        crossed = self.weighted[member.name]
        if part is None:
            return crossed.in_sample_NC
        return find_blender(VIEWS_BY).apply(crossed.by_part[part], _views(member.oof_VNC), self.single_label)


def build(members: Sequence[Member], judge: Judge) -> tuple[Stack, dict[str, Any]]:
    """Return the stack and what was found about each member's views, empty where none were read.

    Weights of views are kept only where the interval of their lead over the plain mean excludes 0.
    """
    kept, report = {}, {}
    for member in members:
        if member.oof_VNC is None:
            continue
        crossed = _cross(VIEWS_BY, partial(_same, member.oof_VNC), judge)
        mean_NC = member.oof["tta"]
        tried = {"mean": judge.scored_as(judge.score(mean_NC), mean_NC), VIEWS_BY: judge.scored(crossed)}
        keep = judge.choose(tried, "mean") == VIEWS_BY
        if keep:
            kept[member.name] = crossed
        report[member.name] = {
            "weighted": keep,
            "weights": dict(zip(member.views, crossed.final.weights_M.tolist(), strict=True)),
            **judge.described(tried[VIEWS_BY]),
            "over_mean": judge.difference(tried[VIEWS_BY], tried["mean"]),
        }
    return Stack(list(members), judge.single_label, kept), report


def blend(name: str, stack: Stack, kind: str, judge: Judge) -> Crossed[Fit]:
    """Fit a blender to the members' OOF, on all rows and without each part."""
    if stack.learns(kind):
        return _cross(name, lambda part: stack.oof(kind, part), judge, learns=True)
    return _cross(name, partial(_same, stack.oof(kind, None)), judge)


def _cross(name: str, seen: Callable[[int | None], Many], judge: Judge, learns: bool = False) -> Crossed[Fit]:
    blender = find_blender(name)

    def chosen(rows: Array | slice) -> Array | None:
        return rows if isinstance(rows, np.ndarray) else None

    def fit(part: int | None, rows: Array | slice) -> Fit:
        return blender.fit(seen(part), judge.goal, chosen(rows))

    def apply(part: int | None, found: Fit, rows: Array | slice) -> Array:
        return blender.apply(found, seen(part), judge.single_label, judge.fold_N, chosen(rows))

    return judge.cross_fit(fit, apply, learns=blender.fitted or learns)


def _same(members: Many, part: int | None) -> Many:
    """Return what no fit has touched, whichever part is held out."""
    return members


def _views(probs_VNC: Array | None) -> Array:
    assert probs_VNC is not None  # members with weighted views have them
    return probs_VNC
