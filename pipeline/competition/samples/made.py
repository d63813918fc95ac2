"""Make the form of a submission where the competition has no sample: the test's ids and what the metric reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.methods.metrics import find
from pipeline.methods.tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.config.config import Config


def form(ids: Sequence[str], config: Config, classes: Sequence[str]) -> pd.DataFrame:
    """Return a row per id with blank cells: one column, or one per class where their probabilities or values count.

    `classes` are those that are submitted. `submission.cell` decides; at auto, labels and rankings are one column, but
    for several target columns that each row may have several of.
    """
    import pandas as pd

    task, own, reads = TASKS[config.data.task], config.submission, find(config.metric).reads
    several = len(config.data.targets) > 1 and not config.data.heads
    text = own.cell in ("label", "class_id", "top") or (own.cell == "auto" and reads in ("labels", "ranking"))
    one = (text and (task.single_label or not several)) or (task.name == "binary" and not several)
    name = config.data.targets[0] if len(config.data.targets) == 1 else "label"
    columns = [name] if one and not task.regression else list(classes)
    key = own.id or ("id" if config.data.predict_id is not None else config.data.id)
    table = pd.DataFrame({key: list(ids)}, dtype=str)
    return table.assign(**dict.fromkeys((column for column in columns if column != key), ""))
