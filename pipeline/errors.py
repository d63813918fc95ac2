"""Define the errors that a user may meet, each with its exit code."""

from collections.abc import Sequence


def some(names: Sequence[object], most: int = 8) -> str:
    """Return the first of many names as a message lists them."""
    return ", ".join(map(str, names[:most])) + (", …" if len(names) > most else "")


class FoldlineError(Exception):
    """Carry every defect found, one line each: place, found, expected, remedy."""

    exit_code = 1

    def __init__(self, *defects: str) -> None:
        super().__init__("\n".join(defects))
        self.defects = defects


class InputError(FoldlineError):
    """The user's input or config is wrong."""

    exit_code = 2


class MismatchError(FoldlineError):
    """Our own files do not fit together: hashes, fingerprints, members, NaN in predictions."""

    exit_code = 3


class LockedError(FoldlineError):
    """Another process works on the same run."""

    exit_code = 4


class SpaceError(FoldlineError):
    """There is no space, or the place is not writable."""

    exit_code = 5


class TrainingError(FoldlineError):
    """Training failed: loss not finite, out of memory, dead worker."""

    exit_code = 6
