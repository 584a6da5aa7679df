"""What a walk keeps does not grow over the rows."""

from __future__ import annotations

import pytest
import torch
from variants import Case, cases

from pixelcnn_lit.sampling.scans import CachedScan

RGB = cases(likelihoods=["logistic_mixture"], channels=[3], conditionings=["none"])


@torch.no_grad()
@pytest.mark.parametrize("case", RGB, ids=str)
def test_a_walk_over_a_64x64_colour_image_keeps_no_more_at_its_end(case: Case):
    model = case.build((64, 64))
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    size = model.network.cond_channels
    scan = CachedScan(model.network, x, torch.zeros(2, size) if size else None)
    num_bytes = []
    for row in range(64):
        scan.start_row(row)
        for column in range(64 if row < 3 or row == 63 else 1):
            scan.params(row, column)
            scan.paint(row, column, x[:, :, row, column])
        num_bytes.append(scan.cache.num_bytes())
    assert num_bytes[0] > 0
    assert max(num_bytes[2:]) == num_bytes[2]


@torch.no_grad()
def test_the_caches_of_a_walk_grow_with_the_batch_and_the_width_but_not_with_the_height():
    [case] = [case for case in RGB if case.variant.name == "pp"]

    def kept(batch: int, height: int, width: int) -> int:
        model = case.build((height, width))
        scan = CachedScan(model.network, torch.zeros(batch, 3, height, width), None)
        scan.start_row(0)
        scan.params(0, 0)
        image = scan.cache.image
        return scan.cache.num_bytes() - image.numel() * image.element_size()

    assert kept(2, 16, 8) == kept(2, 8, 8)
    assert kept(4, 8, 8) - kept(2, 8, 8) == 2 * (kept(2, 8, 8) - kept(1, 8, 8)) > 0
    assert kept(2, 8, 16) > kept(2, 8, 8)
