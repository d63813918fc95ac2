"""The exit code and the one line for errors that libraries raise."""

from __future__ import annotations

import pytest

from pipeline import cli
from pipeline.scoring import stage as score


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MemoryError(), 6, "out of memory; lower train.batch_size"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), 6, "out of memory; lower"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …"), 6, "out of memory; lower"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            6,
            "killed by signal: Killed, most often",
        ),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), 6, "lower train.workers; the same"),
        (
            RuntimeError("shapes do not match"),
            1,
            "internal error: RuntimeError: shapes do not match; please report it with /",
        ),
        (KeyboardInterrupt(), 130, "the same command continues"),
    ],
)
def test_what_libraries_raise(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "_config", lambda _: None)
    monkeypatch.setattr(score, "run", fail)
    assert cli.main(["score", "-c", "any.yaml"]) == code
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("foldline: ") and line in said
