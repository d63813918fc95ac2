"""What a network's columns mean: heads, the scale of values, losses on them; images pooled into rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from synthetic import make_config

from pipeline.methods.losses import LOSSES
from pipeline.methods.mixing import unweigh, weigh
from pipeline.methods.tasks import TASKS
from pipeline.models.outputs import Output, pool

HEADS = (("a", 0, 2), ("b", 2, 5))
LOGITS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_heads_sum_to_one_each_and_the_loss_is_their_mean() -> None:
    output = Output(TASKS["multiclass"], "cross_entropy", HEADS)
    probs_BC = output.activate(LOGITS)
    torch.testing.assert_close(probs_BC[:, :2], LOGITS[:, :2].softmax(-1))
    torch.testing.assert_close(probs_BC[:, 2:], LOGITS[:, 2:].softmax(-1))
    targets_BC = output.learned(probs_BC.flip(0), smoothing=0.1)
    torch.testing.assert_close(targets_BC[:, 2:], probs_BC.flip(0)[:, 2:] * 0.9 + 0.1 / 3)
    one = LOSSES["cross_entropy"].function
    expected = (one(LOGITS[:, :2], targets_BC[:, :2]) + one(LOGITS[:, 2:], targets_BC[:, 2:])) / 2
    torch.testing.assert_close(output.losses(LOGITS, targets_BC), expected)


@pytest.mark.parametrize("loss", TASKS["regression"].losses)
def test_values_are_learned_in_units_of_their_scale(loss: str) -> None:
    values_NC = np.random.default_rng(0).normal(50, [3, 8], (200, 2)).astype(np.float32)
    scale = TASKS["regression"].scale(values_NC, loss, None)
    output = Output(TASKS["regression"], loss, (), scale)
    learned_NC = output.learned(torch.from_numpy(values_NC))
    torch.testing.assert_close(output.restore(learned_NC), torch.from_numpy(values_NC), rtol=1e-4, atol=1e-4)
    if LOSSES[loss].activation == "sigmoid":
        assert learned_NC.min() == 0 and learned_NC.max() == 1
        best_NC = torch.logit(learned_NC.double().clamp(1e-6, 1 - 1e-6))
    else:
        torch.testing.assert_close(learned_NC.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
        best_NC = learned_NC.double()
    torch.testing.assert_close(output.activate(best_NC).float(), torch.from_numpy(values_NC), rtol=1e-4, atol=1e-3)
    assert (output.losses(best_NC, learned_NC.double()) <= output.losses(best_NC + 0.5, learned_NC.double())).all()


def test_a_known_range_is_the_scale_of_outputs_in_0_to_1() -> None:
    values_NC = np.array([[20.0], [60.0]], dtype=np.float32)
    assert TASKS["regression"].scale(values_NC, "binary_cross_entropy", (1, 100)) == ((1.0, 99.0),)
    assert TASKS["multiclass"].scale(values_NC, "cross_entropy", (1, 100)) is None


def test_what_lies_beside_the_weights_reads_back(tmp_path: object) -> None:
    config = make_config(tmp_path)  # type: ignore[arg-type]
    output = Output(TASKS["multiclass"], "cross_entropy", HEADS, ((1.0, 2.0),))
    assert Output.of(config, output.meta) == output
    assert Output.of(config, {}).meta == {}, "old weights keep their bytes"


def test_pooling() -> None:
    probs_IVC = np.array([[[0.9, 0.1]], [[0.2, 0.8]], [[0.6, 0.4]]], dtype=np.float32)
    assert pool(probs_IVC, np.arange(3), 3, "mean") is probs_IVC
    rows_I = np.array([1, 0, 1])
    np.testing.assert_allclose(pool(probs_IVC, rows_I, 2, "mean")[:, 0], [[0.2, 0.8], [0.75, 0.25]], rtol=1e-6)
    most = pool(probs_IVC, rows_I, 2, "max", Output(TASKS["binary"], "cross_entropy").blocks)
    np.testing.assert_allclose(most[:, 0], [[0.2, 0.8], [0.6, 0.4]], rtol=1e-6)
    three_IVC = np.array([[[0.5, 0.3, 0.2]], [[0.1, 0.1, 0.8]]], dtype=np.float32)
    several = pool(three_IVC, np.array([0, 0]), 1, "max", [slice(None)])
    np.testing.assert_allclose(several[0, 0], np.array([0.5, 0.3, 0.8]) / 1.6, rtol=1e-6)
    values = pool(three_IVC, np.array([0, 0]), 1, "max")
    np.testing.assert_allclose(values[0, 0], [0.5, 0.3, 0.8], rtol=1e-6)


def test_mixed_weights_make_the_mixed_loss() -> None:
    targets_BC = torch.eye(5, dtype=torch.float64)[[0, 3, 1, 4, 2, 2]]
    weights_B = torch.tensor([0.5, 2.0, 1.0, 3.0, 0.25, 1.0], dtype=torch.float64)
    held_BC, lam, partner = weigh(targets_BC, weights_B), 0.3, [1, 2, 3, 4, 5, 0]
    mixed_BC, mixed_B = unweigh(held_BC * lam + held_BC[partner] * (1 - lam))
    torch.testing.assert_close(mixed_BC.sum(1), torch.ones(6, dtype=torch.float64))
    for name in ("cross_entropy", "binary_cross_entropy"):
        loss = LOSSES[name].function
        expected = lam * weights_B * loss(LOGITS, targets_BC)
        expected += (1 - lam) * weights_B[partner] * loss(LOGITS, targets_BC[partner])
        torch.testing.assert_close(mixed_B * loss(LOGITS, mixed_BC), expected)
