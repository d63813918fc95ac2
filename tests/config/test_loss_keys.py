"""Keys of losses, class weights, sampling and disturbed targets: what makes no sense is refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synthetic import make_config

from pipeline.competition.competition import survey
from pipeline.config import fingerprints
from pipeline.config.keys import below
from pipeline.config.loading import load
from pipeline.errors import InputError

VALUES = {"data__task": "regression", "loss__name": "mse", "metric": "rmse"}
COLUMNS = {"data__task": "multilabel", "data__target": ["a", "b"], "loss__name": "focal"}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"loss__gamma": 2.0}, "loss.gamma: found 2, but cross_entropy takes no gamma; focal does"),
    ({"loss__name": "focal", "loss__clip": 0.1}, "but focal takes no clip; asymmetric does"),
    ({"loss__name": "soft_f1", "loss__class_weights": "balanced"}, "soft_f1 counts every class alike already"),
    ({"loss__name": "ordinal"}, "loss.name: found 'ordinal', a multiclass task admits cross_entropy,"),
    ({"loss__name": "smooth_l1"}, "loss.name: found 'smooth_l1', a multiclass task admits"),
    ({**COLUMNS, "loss__name": "cross_entropy"}, "a multilabel task admits binary_cross_entropy, focal, asymmetric"),
    ({**VALUES, "loss__class_weights": "sqrt"}, "a regression task has no classes; leave them out"),
    ({**VALUES, "train__sampling": "balanced"}, "a regression task has no classes; choose weighted"),
    ({**VALUES, "train__disturb_labels": 10.0}, "a regression task has values; see train.disturb_values"),
    ({"train__disturb_values": {"share": 0.1, "std": 0.1}}, "a multiclass task has labels; see train.disturb_labels"),
    ({"train__sampling": "weighted"}, "weighted draws by data.weight, or that of data.extra; set one of them"),
    ({"train__sampling": "balanced", "loss__class_weights": "balanced"}, "correct unequal classes twice"),
    ({"train__sampling": "sqrt", "loss__class_weights": {"cat": 2.0}}, "correct unequal classes twice"),
    ({"train__disturb_labels": 0.0}, "train.disturb_labels: found 0.0"),
    ({"loss__class_weights": {"cat": 0.0}}, "loss.class_weights"),
    ({"loss__smooth_over": "some"}, "loss.smooth_over: found 'some'"),
    ({"mix__kind": "mixup", "train__batch_size": 1}, "expected at least 2"),
    ({**VALUES, "loss__label_smoothing": 0.1}, "loss.label_smoothing: smooths probabilities"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        make_config(tmp_path, **changes)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"train__sampling": "sqrt", "loss__class_weights": "sqrt"},
        {"train__sampling": "weighted", "data__weight": "w", "loss__class_weights": "balanced"},
        {"train__sampling": "balanced", "train__disturb_labels": 20.0},
        {**VALUES, "loss__name": "smooth_l1", "loss__beta": 0.5, "mix__kind": "mixup"},
        {**COLUMNS, "metric": "f1_macro", "loss__class_weights": "sqrt", "train__sampling": "sqrt"},
        {"data__task": "ordinal", "loss__name": "ordinal", "loss__class_weights": "balanced", "mix__kind": "cutmix"},
    ],
)
def test_what_makes_sense_is_taken(changes: dict[str, Any], tmp_path: Path) -> None:
    make_config(tmp_path, **changes)


def test_options_have_the_papers_numbers(tmp_path: Path) -> None:
    assert make_config(tmp_path).loss.options == {}
    asymmetric = make_config(tmp_path, loss={"name": "asymmetric", "clip": 0.0}).loss.options
    assert asymmetric == {"gamma_pos": 0.0, "gamma_neg": 4.0, "clip": 0.0}
    assert make_config(tmp_path, loss__name="focal").loss.options == {"gamma": 2.0}


def test_weights_of_unknown_classes_are_a_defect(competition: Path) -> None:
    path = competition / "config.yaml"
    _, defects = survey(load([path], ["loss.class_weights={crosss: 2, disk: 1}"]))
    assert list(map(str, defects.problems())) == [
        "loss.class_weights: unknown class 'crosss'; known: cross, disk, square"
    ]
    assert not survey(load([path], ["loss.class_weights={cross: 2, disk: 1}"]))[1].kinds


def test_weights_of_numbered_classes_may_be_written_as_numbers(tmp_path: Path) -> None:
    assert make_config(tmp_path, loss__class_weights={0: 1.0, 1: 2.5}).loss.class_weights == {"0": 1.0, "1": 2.5}


def test_new_keys_change_no_fingerprint_until_they_are_set(tmp_path: Path) -> None:
    plain = fingerprints.fields(make_config(tmp_path), below("loss", "train"))
    assert {key for key in plain if key.startswith("loss")} == {"loss.name", "loss.label_smoothing"}
    assert not {"train.sampling", "train.disturb_labels", "train.disturb_values"} & set(plain)
    changes = {"loss__class_weights": {"cat": 2.0}, "train__disturb_labels": 10.0, "loss__smooth_over": "others"}
    changed = fingerprints.fields(make_config(tmp_path, **changes), below("loss", "train"))
    assert set(changed) - set(plain) == {"loss.class_weights.cat", "train.disturb_labels", "loss.smooth_over"}
