from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import Cli

from pipeline.batches import fold_rows, progressive_resizing
from pipeline.checking import stage as check
from pipeline.competition.competition import load as load_competition
from pipeline.config.loading import load as load_config
from pipeline.errors import InputError
from pipeline.files.atomic import read_json
from pipeline.images import filling, index


def run(root: Path, *settings: str, images: bool = False) -> Path:
    return check.run(load_config([root / "config.yaml"], settings), images=images)


def test_the_summary_tells_what_there_is(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run(competition, images=True)
    assert path == competition.parent / "runs/shapes/check.json"
    found = read_json(path)
    assert (found["rows"], found["test_rows"]) == (48, 12)
    assert found["classes"] == {"cross": 16, "disk": 16, "square": 16} and found["soft_sums"] is None
    assert found["groups"] == {"count": 12, "smallest": 4, "largest": 4}
    assert found["sizes"] == {"32×32 RGB": 60} and found["notes"] == []
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "check shapes: 48 training rows, 12 test rows",
        "  3 classes: cross 16, disk 16, square 16",
        "  12 groups (group) of 4 to 4 rows",
        "  images: 60 .png; 32×32 RGB; 60 decoded now",
    ]


def test_a_second_check_is_short_and_still_sees_what_changed(
    competition: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(competition, images=True)
    written = path.stat().st_mtime_ns
    capsys.readouterr()
    run(competition, images=True)
    assert capsys.readouterr().out == ("check shapes: tables and config are those of the last check; 0 decoded now\n")
    assert path.stat().st_mtime_ns == written
    (competition / "images/0003.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"0003\.png"):
        run(competition, images=True)


def test_a_changed_table_is_summarized_again(competition: Path) -> None:
    path = run(competition)
    train = competition / "train.csv"
    train.write_text(train.read_text().replace("0000,cross", "0000,disk"))
    run(competition)
    assert read_json(path)["classes"] == {"cross": 15, "disk": 17, "square": 16}
    assert read_json(path)["sizes"] is None


def test_a_misleading_metric_is_named(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i:04d},{'cross' if i % 12 == 0 else 'disk'},g{i // 4:02d}" for i in range(48)]
    (competition / "train.csv").write_text("\n".join(["image_id,label,group", *rows]))
    (note,) = read_json(run(competition))["notes"]
    assert "always 'disk' scores 0.917" in note
    assert f"  note: {note}" in capsys.readouterr().out
    assert read_json(run(competition, "metric=balanced_accuracy"))["notes"] == []


def test_many_defects_go_to_a_file_that_a_good_check_removes(competition: Path) -> None:
    path = competition.parent / "runs/shapes/defects.txt"
    images = competition / "images"
    images.rename(competition / "pictures")
    with pytest.raises(InputError) as caught:
        run(competition)
    assert caught.value.lines[-1] == f"{path}: lists all 60 defects"
    assert len(path.read_text().splitlines()) == 60
    (competition / "pictures").rename(images)
    run(competition)
    assert not path.exists()


def test_soft_labels_are_counted_by_row(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i:04d},0.25,0.75" for i in range(40)] + [f"{i:04d},1,0" for i in range(40, 47)]
    (competition / "train.csv").write_text("\n".join(["image_id,cat,dog", *rows]) + "\n")
    (competition / "sample_submission.csv").write_text(
        "\n".join(["image_id,cat,dog", *(f"{i:04d},0.5,0.5" for i in range(48, 60))])
    )
    path = run(competition, "data.target=[cat, dog]", "data.group=null")
    assert read_json(path)["classes"] == {"cat": 7, "dog": 40}
    assert read_json(path)["soft_sums"] == {"cat": 17, "dog": 30}
    shown = capsys.readouterr().out.splitlines()[1]
    assert shown == "  2 classes: cat 7, dog 40 (soft labels, each row counted where it decides)"


def test_tables_are_checked_without_torch(competition: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.cli import main; "
        f"assert main(['check', '--no-images', '-c', {str(competition / 'config.yaml')!r}]) == 0; "
        "print(sorted({'torch', 'timm', 'albumentations', 'accelerate', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize(("cache", "first"), [("{}", 60 + 48 + 48), ("{size: 40}", 60), ("{dir: null}", 60)])
def test_the_cache_is_filled_for_every_size_that_is_trained_at(
    competition: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cache: str, first: int
) -> None:
    config = yaml.safe_load((competition / "config.yaml").read_text())
    config["data"]["cache"] |= yaml.safe_load(cache)
    config["train"] |= {"epochs": 4, "sizes": [{"until": 0.2, "size": 16}, {"until": 0.5, "size": [20, 24]}]}
    (competition / "config.yaml").write_text(yaml.safe_dump(config))
    index._checked.clear()  # what a process without a cache has met before, in other tests
    run(competition, images=True)
    assert f"; {first} decoded now" in capsys.readouterr().out
    made = load_config([competition / "config.yaml"])

    def refuse(*_: object) -> None:
        raise AssertionError("it was decoded before")

    if made.data.cache.dir is not None:
        monkeypatch.setattr(filling, "decode_files", refuse)
    images = progressive_resizing.open_all(made, fold_rows.sources(load_competition(made)))
    assert images.decoded == 0 and [other.decoded for other in images.others] == [0, 0]


def test_config_settings_and_files_are_told_in_one_go(competition: Path, cli: Cli) -> None:
    """A wrong key does not hide a model that timm lacks, nor a damaged table: one round finds them all."""
    table = competition / "train.csv"
    table.write_text(table.read_text() + "0047,disk,g11\n0099,disk,g12\n")
    settings = ("trian.lr=1", "mix.alpha=0", "model.name=resnet19x", "train.optimizer=adamx", "tta=[hflp]")
    done = cli("check", "-c", competition / "config.yaml", *(x for one in settings for x in ("--set", one)))
    assert done.returncode == 2
    for said in (
        "trian: unknown key",
        "mix.alpha: found 0",
        "tta: found 'hflp', expected a view; did you mean 'hflip'?",
        "model.name: found 'resnet19x'",
        "train.optimizer: found 'adamx', expected one of timm's; did you mean 'adamax'?",
        "line 50: id '0047' stands in line 49 already",
        "0099.png",
    ):
        assert said in done.stderr, (said, done.stderr)
