"""Join the other processes of one training, if any, through Accelerate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.machine import processes
from pipeline.models.network import Setting

if TYPE_CHECKING:
    from accelerate import Accelerator


def accelerator(setting: Setting) -> Accelerator:
    """Join the other processes, if any, and set the precision; one per process for all folds."""
    from accelerate import Accelerator

    if processes.count() > 1:
        processes.barrier()
    return Accelerator(
        mixed_precision="no" if setting.precision == "fp32" else setting.precision,
        cpu=setting.device.type == "cpu",
    )
