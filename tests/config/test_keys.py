"""What a key affects is said at the key: a change of any key makes the stages run again that read it, and no others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, write_competition

from pipeline.batches import fold_rows
from pipeline.batches.inputs import Inputs
from pipeline.blending import stage as ensemble
from pipeline.competition.sample_submission import read_sample
from pipeline.config import fingerprints, reference
from pipeline.config.config import Config
from pipeline.config.keys import KEYS, affecting
from pipeline.config.loading import load
from pipeline.config.sections.section import Affects, Section, key
from pipeline.folds import fold_table
from pipeline.models.network import Setting
from pipeline.prediction import stage as predict
from pipeline.scoring import stage as score
from pipeline.training import stage as train

STAGES = {  # result -> the stage that reads it
    Affects.TRAINING: "train",
    Affects.PREDICTION: "predict",
    Affects.SCORE: "score",
    Affects.SUBMISSION: "ensemble",
}
# A valid value other than the default, behind settings without which the key says nothing (they stand on both sides).
HEADS = ["data.heads=true", "data.target=[label, group]", "data.group=null"]
SEVERAL = ["data.task=multilabel", "data.separator=' '", "loss.name=binary_cross_entropy", "metric=f1_micro"]
VALUES = ["data.task=regression", "data.target=image_id", "loss.name=mse", "metric=rmse"]
OTHER: dict[str, tuple[list[str], str]] = {
    "name": ([], "circles"),
    "run": ([], "second"),
    "runs_dir": ([], "elsewhere"),
    "folds_dir": ([], "elsewhere"),
    "studies_dir": ([], "elsewhere"),
    "metric": ([], "log_loss"),
    "tta": ([], "[identity, hflip]"),
    "medals": ([], "{gold: 0.9, silver: 0.8, bronze: 0.7}"),
    "data.duplicates": ([], "soft"),
    "data.missing": ([], "skip"),
    "data.unlabelled": ([], "skip"),
    "data.follow_links": ([], "true"),
    "data.pool": ([], "max"),
    "data.task": ([], "ordinal"),
    "data.classes": ([], "[square, disk, cross]"),
    "data.flips_change_labels": ([], "horizontal"),
    "data.solution": ([], "solution.csv"),
    "data.cache.dir": ([], "null"),
    "data.cache.size": ([], "40"),
    "data.cache.max_gb": ([], "3"),
    "model.name": ([], "test_vit"),
    "model.pretrained": ([], "true"),
    "model.size": ([], "[32, 24]"),
    "model.freeze": ([], "backbone"),
    "model.thaw_epoch": (["model.freeze=backbone"], "1"),
    "model.drop_rate": ([], "0.1"),
    "model.drop_path_rate": ([], "0.1"),
    "model.pool": ([], "max"),
    "model.zero_head": ([], "true"),
    "model.stem": ([], "small"),
    "model.multi_dropout": ([], "3"),
    "model.aux_weight": ([], "0.5"),
    "model.grad_checkpointing": ([], "true"),
    "loss.name": ([], "focal"),
    "loss.gamma": (["loss.name=focal"], "3"),
    "loss.gamma_pos": (["loss.name=asymmetric"], "1"),
    "loss.gamma_neg": (["loss.name=asymmetric"], "3"),
    "loss.clip": (["loss.name=asymmetric"], "0.1"),
    "loss.beta": ([*VALUES, "loss.name=smooth_l1"], "2"),
    "loss.label_smoothing": ([], "0.1"),
    "loss.smooth_over": ([], "others"),
    "loss.class_weights": ([], "balanced"),
    "augment.train": ([], "light"),
    "mix.kind": ([], "cutmix"),
    "mix.patch": ([], "center"),
    "mix.alpha": ([], "0.3"),
    "mix.prob": ([], "0.3"),
    "mix.off_last_epochs": ([], "1"),
    "train.epochs": ([], "3"),
    "train.batch_size": ([], "9"),
    "train.lr": ([], "0.02"),
    "train.min_lr": ([], "0.001"),
    "train.optimizer": ([], "sgd"),
    "train.weight_decay": ([], "0.1"),
    "train.layer_decay": ([], "0.9"),
    "train.schedule": ([], "constant"),
    "train.step_epochs": ([], "1"),
    "train.gamma": ([], "0.1"),
    "train.plateau_patience": ([], "1"),
    "train.warmup_epochs": ([], "1"),
    "train.accumulate": ([], "2"),
    "train.subset": ([], "0.5"),
    "train.sampling": ([], "balanced"),
    "train.disturb_labels": ([], "10"),
    "train.disturb_values": (VALUES, "{share: 0.1, std: 0.1}"),
    "train.sizes": ([], "[{until: 0.5, size: 16}]"),
    "train.clip_grad": ([], "null"),
    "train.ema": ([], "false"),
    "train.ema_decay": ([], "0.9"),
    "train.average": (["train.ema=false"], "swa"),
    "train.average_epochs": (["train.ema=false", "train.average=swa", "train.epochs=4"], "3"),
    "train.precision": ([], "bf16"),
    "train.channels_last": ([], "false"),
    "train.compile": ([], "true"),
    "train.seed": ([], "7"),
    "train.seeds": ([], "[1, 2]"),
    "train.keep": ([], "best"),
    "train.monitor": ([], "loss"),
    "train.patience": ([], "3"),
    "train.min_delta": ([], "0.1"),
    "train.workers": ([], "1"),
    "train.checkpoint_minutes": ([], "3"),
    "train.deterministic": ([], "false"),
    "train.threads": ([], "2"),
    "train.parallel_folds": ([], "2"),
    "predict.batch_size": ([], "9"),
    "predict.top_k": ([], "2"),
    "ensemble.blender": ([], "auto"),
    "ensemble.members": ([], "[shapes]"),
    "ensemble.compare": ([], "[mean]"),
    "ensemble.views": ([], "select"),
    "ensemble.calibrate": ([], "auto"),
    "ensemble.smoothing.alpha": ([], "0.1"),
    "ensemble.smoothing.threshold": ([], "0.8"),
    "ensemble.seed": ([], "1"),
    "decision.kind": ([], "plain"),
    "decision.threshold": (["decision.new_class=cross"], "0.3"),
    "decision.new_class": ([], "disk"),
    "submission.variant": ([], "plain"),
    "submission.id": ([], "image_id"),
    "submission.columns": ([], "{}"),
    "submission.rows": ([], "kind"),
    "submission.cell": ([], "label"),
    "submission.top": ([], "1"),
    "submission.joiner": ([], "'|'"),
    "submission.labels": ([], "{disk: round}"),
}
# Read where a table, image or teacher is read, whose content every stage hashes, or only with other files than these.
BY_CONTENT = (
    *("data.root", "data.train", "data.test", "data.sample_submission", "data.joins", "data.derive", "data.where"),
    *("data.test_where", "data.pivot", "data.duplicates_by_content"),
    *("data.id", "data.predict_id", "data.image", "data.test_image", "data.channels", "data.window", "data.group"),
    *("data.crop", "data.panels", "data.truncated"),
    *("data.target", "data.heads", "data.separator", "data.empty", "data.range", "data.weight", "data.extra"),
    *("distill.teacher", "distill.weight", "pseudo.teacher", "pseudo.threshold", "pseudo.images", "pseudo.weight"),
    *("pseudo.soft", "ensemble.compose", "submission.composite", "decision.min_labels", "decision.max_labels"),
    *("decision.alone", "decision.clip"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the config of a competition all of whose stages have run."""
    root = write_competition(tmp_path_factory.mktemp("keys"))
    path = root / "config.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", "-c", str(path), "--set", "train.epochs=1"],
        cwd=root,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "NO_ALBUMENTATIONS_UPDATE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    yield path


def read_by_stages(config: Config, finished: Config, inputs: Inputs) -> dict[str, Any]:
    """Return what each stage compares to tell whether its result still fits; files are those of the finished run."""
    competition, table = inputs.competition(finished), fold_table.read(finished)
    images = inputs.training_images(finished).digest(fold_rows.names(competition))
    return {
        "train": train.fields(config, table, images, fold_rows.hashes(competition)),
        "predict": predict.fingerprint_of(config, Setting.of(finished), "weights", images),
        "score": score.fields(config, list(range(table.n))),
        "ensemble": ensemble.fields(config, table, read_sample(finished)),
    }


def test_every_key_is_changed_or_read_by_its_content() -> None:
    assert set(OTHER) | set(BY_CONTENT) | {name for name in KEYS if name.split(".")[0] in ("folds", "tune")} == set(
        KEYS
    )
    assert not set(OTHER) & set(BY_CONTENT)


def test_a_change_makes_those_stages_run_again_that_the_key_names(finished: Path) -> None:
    inputs, base, wrong = Inputs(), load([finished]), []
    places = {name: getattr(base, name) for name in ("name", "run", "runs_dir", "folds_dir")}  # the same files
    for name, (beside, value) in OTHER.items():
        config, other = load([finished], beside), load([finished], [*beside, f"{name}={value}"])
        prints = [read_by_stages(one.model_copy(update=places), base, inputs) for one in (config, other)]
        found = {stage for stage in prints[0] if prints[0][stage] != prints[1][stage]}
        said = {stage for result, stage in STAGES.items() if KEYS[name].affects & result}
        if KEYS[name].affects & Affects.IMAGES:  # the size of the cached images is hashed beside the keys
            said |= {"train", "predict"}
        if found != said:
            wrong.append(f"{name}: {', '.join(sorted(found)) or 'nothing'} would run again, it says {sorted(said)}")
    assert not wrong, "\n".join(wrong)


def test_what_chooses_an_epoch_counts_where_one_is_chosen() -> None:
    assert set(affecting(Affects.EPOCH)) == {"metric", "data.pool"}


def test_a_key_that_says_nothing_fails_at_import() -> None:
    with pytest.raises(TypeError, match=r"Silent\.size: says neither what it affects"):

        class Silent(Section):
            size: int = 3

    with pytest.raises(TypeError, match=r"Mute\.size"):

        class Mute(Section):
            size: int = key(3, Affects.NOTHING, "")


def test_later_keys_have_a_default() -> None:
    assert not [name for name, one in KEYS.items() if one.later and one.field.is_required()]


def test_the_page_of_keys_is_up_to_date() -> None:
    """docs/keys.md is written by: python -m pipeline.config.reference > docs/keys.md."""
    page = reference.page()
    assert (ROOT / "docs" / "keys.md").read_text(encoding="utf-8") == page
    assert all(f"| `{name}` |" in page for name in KEYS)
    for word in ("engine", "Annotated", "typing.", "<class"):
        assert word not in page
    assert fingerprints.ENGINE_VERSION == 1
