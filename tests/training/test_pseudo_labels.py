"""Labels from predictions, against rows worked out by hand."""

from __future__ import annotations

import numpy as np

from pipeline.training.teaching.pseudo_labels import certainty, labels

PROBS_NC = np.array([[0.7, 0.2, 0.1, 0.95, 0.05], [0.3, 0.3, 0.4, 0.5, 0.5]])


def test_the_least_sure_answer_counts() -> None:
    np.testing.assert_allclose(certainty(PROBS_NC, [(0, 3), (3, 5)]), [0.7, 0.4])
    np.testing.assert_allclose(certainty(PROBS_NC, [(0, 5)]), [0.95, 0.5])
    np.testing.assert_allclose(certainty(PROBS_NC, []), [0.7, 0.5])  # 0.3 is a sure no of 0.7, as is 0.7 a yes
    assert len(certainty(np.zeros((0, 3)), [(0, 3)])) == 0


def test_each_head_and_each_cell_has_its_label() -> None:
    np.testing.assert_array_equal(labels(PROBS_NC, [(0, 3), (3, 5)]), [[1, 0, 0, 1, 0], [0, 0, 1, 1, 0]])
    np.testing.assert_array_equal(labels(PROBS_NC, []), [[1, 0, 0, 1, 0], [0, 0, 0, 1, 1]])
    assert labels(PROBS_NC, []).dtype == np.float32
