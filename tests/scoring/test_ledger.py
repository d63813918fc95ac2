"""The ledger's file: what is written is read, edited ones are judged cell by cell, writers wait for each other."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import LockedError, MismatchError
from pipeline.files.locks import lock
from pipeline.scoring import ledger
from pipeline.scoring.ledger import COLUMNS, NAME, Entry

ENTRY = Entry("2026-11-22 03:00", "pets", "b3", "log_loss", 0.5, 0.01, None, 0.52, None, "first, of two")
SCORES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=20)


def put(runs_dir: Path, entry: Entry) -> Entry:
    return ledger.change(runs_dir, entry.run, lambda _: entry)[1]


@given(cv=SCORES, public=SCORES, note=TEXTS)
def test_every_row_is_read_as_it_was_written(
    cv: float | None, public: float | None, note: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    made = replace(ENTRY, cv=cv, public=public, note=note)
    assert put(folder, made) == made
    assert ledger.read(folder) == [made]


def test_a_run_keeps_its_place(tmp_path: Path) -> None:
    assert ledger.read(tmp_path) == []
    for name in ("007", "b", "NA"):
        put(tmp_path, replace(ENTRY, run=name))
    put(tmp_path, replace(ENTRY, run="007", public=0.4))
    assert [(entry.run, entry.public) for entry in ledger.read(tmp_path)] == [("007", 0.4), ("b", 0.52), ("NA", 0.52)]


def test_cross_fitted_goes_before_cv_and_lower_may_be_better() -> None:
    assert (ENTRY.primary, ENTRY.gain(False)) == (0.5, -0.5)
    fitted = replace(ENTRY, cross_fitted=0.0)
    assert fitted.primary == 0 and fitted.gain(False) > ENTRY.gain(False)
    assert replace(ENTRY, metric="accuracy", cv=0.75).gain(True) == 0.75
    assert replace(ENTRY, cv=None).gain(False) < -1e9


def test_every_wrong_cell_is_told(tmp_path: Path) -> None:
    rows = ["d,pets,a,log_loss,good,0,,inf,,", "d,pets,a,logloss,,,,,,", "d,pets,,log_loss,1,,,,,"]
    (tmp_path / NAME).write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    with pytest.raises(MismatchError) as caught:
        ledger.read(tmp_path)
    place = tmp_path / NAME
    assert caught.value.lines[0] == f"{place}: line 2: cv is 'good', expected a number or nothing"
    assert caught.value.lines[1] == f"{place}: line 2: public is 'inf', expected a number or nothing"
    assert caught.value.lines[2].startswith(
        f"{place}: line 3: metric: found 'logloss', expected a metric; did you mean 'log_loss'?"
    )
    assert caught.value.lines[3] == f"{place}: line 4: run is blank, expected a run's name"
    assert caught.value.lines[4] == f"{place}: the run 'a' has 2 lines; keep one"


@pytest.mark.parametrize("text", ["", "run,cv\nb3,0.5\n", ",".join(COLUMNS) + "\n" + ",".join("abcdefghijkl") + "\n"])
def test_another_table_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(MismatchError, match=NAME):
        put(tmp_path, ENTRY)
    assert (tmp_path / NAME).read_text() == text


def test_a_lock_that_is_not_freed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "WAIT_SECONDS", 0.05)
    with lock(tmp_path), pytest.raises(LockedError):
        put(tmp_path, ENTRY)


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    code = """
import sys
from dataclasses import replace
from pathlib import Path
from pipeline.scoring import ledger
entry = ledger.Entry("d", "pets", "", "accuracy", 0.5, 0.0, None, None, None, "")
for n in range(8):
    name = f"{sys.argv[2]}-{n}"
    ledger.change(Path(sys.argv[1]), name, lambda _: replace(entry, run=name))
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    writers = [subprocess.Popen([*command, name], cwd=ROOT) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert sorted(entry.run for entry in ledger.read(tmp_path)) == sorted(
        f"{name}-{n}" for name in "ab" for n in range(8)
    )
