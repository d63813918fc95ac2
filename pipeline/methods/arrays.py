"""The one name of a numpy array in signatures; what its axes are, its own name says: probs_NC, fold_N."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
