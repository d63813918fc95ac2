"""Normalisation gives float32 images of mean 0 and leaves the batch as it is."""

from __future__ import annotations

import pytest
import torch

from pipeline.batches.loader import Normalize


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_batch_is_not_changed(dtype: torch.dtype) -> None:
    draws = torch.Generator().manual_seed(0)
    stored_BHWC = torch.randint(0, 256, (2, 4, 5, 3), generator=draws, dtype=torch.uint8)
    images_BHWC = stored_BHWC if dtype == torch.uint8 else stored_BHWC / 255
    before = images_BHWC.clone()
    normalize = Normalize((0.5, 0.4, 0.3), (0.1, 0.2, 0.3), torch.device("cpu"), last=False)
    once, twice = normalize(images_BHWC), normalize(images_BHWC)
    assert torch.equal(images_BHWC, before)  # random views start from it again
    assert torch.equal(once, twice)
    wanted = (stored_BHWC / 255 - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.1, 0.2, 0.3])
    torch.testing.assert_close(once, wanted.permute(0, 3, 1, 2), atol=1e-5, rtol=0)
