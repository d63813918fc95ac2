"""The exit code and the one line for errors that libraries raise."""

from __future__ import annotations

import errno

import cv2
import numpy as np
import pytest

from pipeline import cli
from pipeline.config.config import Config
from pipeline.config.wrong_keys import REQUIRED
from pipeline.scoring import stage as score

OPENCV = (
    "OpenCV(5.0.0) /io/opencv/modules/core/src/alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate "
    "3221225472 bytes in function 'OutOfMemoryError'\n"
)


BUS = (
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
    "shared memory. Please try to raise your shared memory limit."
)
SHM_FULL = "unable to write to file </torch_12_34_0>: No space left on device (28)"
SHM_OPEN = "unable to open shared memory object </torch_1> in read-write mode: Too many open files (24)"
IN_WORKER = f"Caught error in DataLoader worker process 0.\nOriginal Traceback …\n{OPENCV}"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MemoryError(), 6, "the machine ran out of memory; end other programs"),
        (np.exceptions.AxisError("out of memory of axes"), 1, "internal error: AxisError"),
        (RuntimeError("std::bad_alloc"), 6, "the machine ran out of memory (std::bad_alloc); end other programs"),
        (cv2.error(OPENCV), 6, "the machine ran out of memory (OpenCV(5.0.0)"),
        (cv2.error(IN_WORKER), 6, "worker of the loader; lower train.workers"),
        (RuntimeError(BUS), 6, "shared memory (/dev/shm) ran out"),
        (RuntimeError(SHM_FULL), 6, "lower train.workers, 0 takes none"),
        (RuntimeError(SHM_OPEN), 6, "shared memory"),
        (RuntimeError("can't start new thread"), 6, "ran out of threads; lower train.workers"),
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
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 5, "runs/x: cannot be written: No space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "runs/x"), 5, "runs/x: cannot be written: Disk quota exceeded"),
        (OSError(errno.EFBIG, "File too large"), 5, "cannot be written: File too large"),
        (OSError(errno.EROFS, "Read-only file system", "a.csv"), 5, "a.csv: cannot be written: Read-only file"),
        (OSError(errno.EIO, "Input/output error", "data/a.csv"), 2, "data/a.csv: cannot be read: Input/output error"),
        (OSError(errno.EIO, "Input/output error", "runs/x/a"), 3, "runs/x/a: cannot be read: Input/output error"),
        (OSError(errno.ELOOP, "Too many levels", "folds/x.csv"), 3, "folds/x.csv: cannot be read: Too many levels"),
        (OSError(errno.EISDIR, "Is a directory", "a.csv"), 2, "a.csv: cannot be read: Is a directory"),
        (OSError(errno.EMFILE, "Too many open files", "a.csv"), 6, "a.csv: the machine ran out of open files"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 6, "the machine ran out of memory"),
        (caused(RuntimeError("storage"), OSError(errno.ENOSPC, "No space left")), 5, "cannot be written: No space"),
        (RecursionError("maximum recursion depth exceeded"), 2, "nested too deep"),
        (ValueError("embedded null byte"), 2, "a path that holds a NUL byte"),
    ],
)
def test_what_libraries_raise(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    config = Config.model_validate({**REQUIRED, "name": "x"})
    monkeypatch.setattr(cli, "_config", lambda _: config)
    monkeypatch.setattr(score, "run", fail)
    assert cli.main(["score", "-c", "any.yaml"]) == code
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("foldline: ") and line in said
