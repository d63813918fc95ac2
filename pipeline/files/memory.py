"""Tell what ran out where memory did, by what libraries raise: a model's, an image's, what loader workers share."""

from __future__ import annotations

import errno
import os
import re

from pipeline.errors import Problem, TrainingError

SHARED = re.compile(r"</?torch_\d|shared memory|shm_open|out of shared")  # torch's files in /dev/shm
OF_A_MODEL = re.compile(r"out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED")  # torch's RuntimeErrors
OF_ANY = re.compile(r"Insufficient memory|bad_alloc|out of memory|can't allocate|Cannot allocate|Unable to allocate")
WORKER = "DataLoader worker (pid"
AGAIN = "the same command continues"
SHARED_FOLDER = "/dev/shm"
LITTLE = 1 << 20  # bytes: less is full


def is_out(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, also one of OpenCV or Pillow."""
    return isinstance(error, MemoryError) or OF_ANY.search(str(error)) is not None


def ran_out(error: BaseException, in_worker: bool = False) -> TrainingError | None:
    """Return what to say of memory that ran out or a loader process that is gone, None where it was something else.

    Torch raises bare RuntimeErrors then, OpenCV its own error, and the kernel ends workers with a signal.
    """
    text = " ".join(str(error).split())
    if isinstance(error, RuntimeError | OSError) and (SHARED.search(text) or _is_shared_full(error)):
        found = f"shared memory ({SHARED_FOLDER}) ran out, through which the loader's workers hand over batches"
        remedy = f"lower train.workers, 0 takes none, or enlarge it (docker run --shm-size=8g); {AGAIN}"
        return TrainingError(Problem("", found, remedy=remedy))
    if text.startswith(WORKER):
        died = str(error).splitlines()[0].rstrip(" .")
        return TrainingError(
            Problem("", f"{died}, most often because memory ran out", remedy=f"lower train.workers; {AGAIN}")
        )
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return TrainingError(Problem("", "the machine ran out of threads", remedy=f"lower train.workers; {AGAIN}"))
    if not (isinstance(error, MemoryError | RuntimeError) or type(error).__module__.startswith("cv2")):
        return None
    if not is_out(error):
        return None
    if in_worker or "DataLoader worker process" in text:
        return TrainingError(
            Problem("", "memory ran out in a worker of the loader", remedy=f"lower train.workers; {AGAIN}")
        )
    if isinstance(error, RuntimeError) and OF_A_MODEL.search(text):
        remedy = "lower train.batch_size, predict.batch_size or model.size"
        return TrainingError(Problem("", "out of memory", remedy=remedy))
    why = f" ({text[:200]})" if text else ""
    return TrainingError(Problem("", f"the machine ran out of memory{why}", remedy="end other programs, or add memory"))


def _is_shared_full(error: BaseException) -> bool:
    """Tell whether space ran out in no file: locks and queues between processes lie in shared memory."""
    if getattr(error, "errno", None) != errno.ENOSPC or getattr(error, "filename", None) is not None:
        return False
    try:
        status = os.statvfs(SHARED_FOLDER)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < LITTLE
