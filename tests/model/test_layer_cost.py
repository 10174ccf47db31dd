from __future__ import annotations

import numpy as np
import torch

from dcap.model.layer_cost import LiveBytes, MemoryRows, PerRow, storage_of


def test_per_row_bytes_add_up() -> None:
    rows = MemoryRows(np.array([2, 3]), np.array([5, 7]), np.array([1, 2]))
    assert (PerRow(1, 10, 100, 1000) + PerRow(token=1)).at(rows).tolist() == [1154, 1276]
    assert (PerRow(1, 10) * 3).at(rows).tolist() == [156, 219]


def test_the_bytes_of_live_tensors_are_followed() -> None:
    weight = torch.ones(10)
    with LiveBytes({storage_of(weight)}) as live:
        live.add(weight)
        cast = weight.to(torch.float64)
        other = weight[:5] + 1.0
        assert (live.now, live.casts) == (40 + 80 + 20, {storage_of(cast): 80})
        del cast, other
        assert (live.now, live.most, live.casts) == (40, 140, {})
