from __future__ import annotations

from typing import Any

import pytest
import torch

from dcap.core.errors import ConfigError, TrainingError
from dcap.model import attention
from dcap.model.attention import (
    attention_kwargs,
    choose_attention,
    segments_attention,
    self_test,
    use_attention,
    varlen_attention,
)
from support.batches import fake_sample, packed, padded

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
HALF, FULL = torch.bfloat16, torch.float32


@pytest.mark.parametrize(
    ("device", "dtype", "flash", "varlen", "expected"),
    [
        (CPU, FULL, True, True, "segments"),
        (CPU, HALF, True, True, "segments"),
        (CUDA, FULL, True, True, "segments"),
        (CUDA, HALF, True, True, "flash_attention_2"),
        (CUDA, HALF, False, True, "varlen"),
        (CUDA, torch.float16, False, True, "varlen"),
        (CUDA, HALF, False, False, "segments"),
    ],
)
def test_auto_takes_the_first_kernel_that_can_run(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, dtype: torch.dtype, flash: bool, varlen: bool, expected: str
) -> None:
    monkeypatch.setattr(attention, "_flash_attn_imports", lambda: flash)
    monkeypatch.setattr(attention, "_varlen_exists", lambda: varlen)
    assert choose_attention("auto", device, dtype) == expected


@pytest.mark.parametrize("requested", ["flash_attention_2", "varlen"])
def test_a_kernel_that_cannot_run_is_an_error_with_a_way_out(requested: Any) -> None:
    with pytest.raises(ConfigError, match=r"on cpu in float32, not .*Set model.attention=auto"):
        choose_attention(requested, CPU, FULL)


def heads(seed: int, length: int, num: int = 4, dim: int = 8, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, num, length, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("causal", [True, False])
def test_segments_equal_a_block_diagonal_mask(causal: bool) -> None:
    bounds = torch.tensor([0, 3, 4, 9], dtype=torch.int32)
    query, key, value = heads(0, 9), heads(1, 9, num=2), heads(2, 9, num=2)
    segment = torch.repeat_interleave(torch.arange(3), bounds.diff())
    mask = segment[:, None] == segment[None]
    mask = mask.tril() if causal else mask
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=0.3, enable_gqa=True)
    out, weights = segments_attention(
        torch.nn.Identity(), query, key, value, None, scaling=0.3, is_causal=causal, cu_seq_lens_q=bounds
    )
    assert weights is None
    torch.testing.assert_close(out, expected.transpose(1, 2))


def test_causality_comes_from_the_layer_when_the_call_does_not_say() -> None:
    layer = torch.nn.Identity()
    query, key, value = heads(0, 5), heads(1, 5), heads(2, 5)
    layer.is_causal = True  # type: ignore[assignment]
    causal, _ = segments_attention(layer, query, key, value, None)
    layer.is_causal = False  # type: ignore[assignment]
    full, _ = segments_attention(layer, query, key, value, None)
    torch.testing.assert_close(causal[:, -1], full[:, -1])
    assert not torch.allclose(causal[:, 0], full[:, 0])


@pytest.mark.parametrize("kernel", [segments_attention, varlen_attention])
def test_generation_is_refused(kernel: Any) -> None:
    with pytest.raises(TrainingError, match="for_generation=True"):
        kernel(torch.nn.Identity(), heads(0, 1), heads(1, 4), heads(2, 4), None)
    with pytest.raises(TrainingError, match="without a mask"):
        kernel(torch.nn.Identity(), heads(0, 4), heads(1, 4), heads(2, 4), torch.ones(1, 1, 4, 4))


def _emulated_varlen(q: Any, k: Any, v: Any, cu_q: Any, cu_k: Any, max_q: int, max_k: int, **kwargs: Any) -> Any:
    """What torch's CUDA-only varlen attention computes, for a CPU."""
    assert max_q == max_k == int(cu_q.diff().max())
    assert torch.equal(cu_q, cu_k)
    assert cu_q.dtype == torch.int32
    causal = kwargs["window_size"] == (-1, 0)
    out = []
    for start, stop in zip(cu_q[:-1].tolist(), cu_q[1:].tolist(), strict=True):
        parts = [t[start:stop].transpose(0, 1)[None] for t in (q, k, v)]
        one = torch.nn.functional.scaled_dot_product_attention(
            *parts, is_causal=causal, scale=kwargs["scale"], enable_gqa=kwargs["enable_gqa"]
        )
        out.append(one[0].transpose(0, 1))
    return torch.cat(out)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("causal", [True, False])
def test_varlen_calls_the_kernel_as_segments_would(monkeypatch: pytest.MonkeyPatch, batch: int, causal: bool) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", _emulated_varlen)
    query, key, value = heads(0, 6, batch=batch), heads(1, 6, 2, batch=batch), heads(2, 6, 2, batch=batch)
    bounds = torch.tensor([0, 2, 6], dtype=torch.int32) if batch == 1 else None
    calls: dict[str, Any] = {"scaling": 0.2, "is_causal": causal, "cu_seq_lens_q": bounds}
    expected, _ = segments_attention(torch.nn.Identity(), query, key, value, None, **calls)
    out, _ = varlen_attention(torch.nn.Identity(), query, key, value, None, **calls)
    torch.testing.assert_close(out, expected)


def test_varlen_serves_both_towers(monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    batch = packed([fake_sample(0), fake_sample(1, images=()), fake_sample(2, images=((4, 8), (8, 4)))])
    expected = logits(model, batch)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", _emulated_varlen)
    use_attention(model, "varlen")
    torch.testing.assert_close(logits(model, batch), expected, rtol=1e-5, atol=1e-5)


def logits(model: Any, batch: Any) -> torch.Tensor:
    names = ("input_ids", "position_ids", "pixel_values", "image_grid_thw")
    inputs = {name: batch[name] for name in names if name in batch}
    kwargs = attention_kwargs(batch.get("cu_seqlens"))
    out: torch.Tensor = model(**inputs, use_cache=False, **kwargs).logits
    return out


SAMPLES = [
    fake_sample(10, images=((4, 4),)),
    fake_sample(11, images=()),
    fake_sample(12, images=((4, 8), (8, 4)), prompt=3),
    fake_sample(13, images=((6, 6),), answer=9),
]


def separate_gradients(model: Any) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    model.zero_grad()
    alone = []
    for i, sample in enumerate(SAMPLES):
        out = logits(model, padded([sample]))
        (out * probe(i, out)).sum().backward()
        alone.append(out.detach()[0])
    return alone, {name: p.grad.clone() for name, p in model.named_parameters()}


def probe(i: int, like: torch.Tensor) -> torch.Tensor:
    return torch.randn(like.shape[-2:], generator=torch.Generator().manual_seed(i)) / like.shape[-1]


def assert_gradients(model: Any, expected: dict[str, torch.Tensor]) -> None:
    for name, parameter in model.named_parameters():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-5, atol=1e-5 * max(scale, 1e-3), msg=name)


def test_packed_equals_separate_in_logits_and_gradients(model: Any) -> None:
    alone, expected = separate_gradients(model)
    model.zero_grad()
    batch = packed(SAMPLES)
    out = logits(model, batch)
    parts = torch.split(out[0], [len(s.input_ids) for s in SAMPLES])
    for part, one in zip(parts, alone, strict=True):
        torch.testing.assert_close(part, one, rtol=1e-5, atol=1e-5)
    sum((part * probe(i, part)).sum() for i, part in enumerate(parts)).backward()  # type: ignore[union-attr]
    assert_gradients(model, expected)


def test_padded_equals_separate_in_logits_and_gradients(model: Any) -> None:
    alone, expected = separate_gradients(model)
    model.zero_grad()
    out = logits(model, padded(SAMPLES))
    parts = [out[i, : len(s.input_ids)] for i, s in enumerate(SAMPLES)]
    for part, one in zip(parts, alone, strict=True):
        torch.testing.assert_close(part, one, rtol=1e-5, atol=1e-5)
    sum((part * probe(i, part)).sum() for i, part in enumerate(parts)).backward()  # type: ignore[union-attr]
    assert_gradients(model, expected)


def test_transformers_own_attention_gives_the_same(model: Any) -> None:
    batch = packed(SAMPLES)
    ours = logits(model, batch)
    model.set_attn_implementation("sdpa")
    torch.testing.assert_close(logits(model, batch), ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_self_test_passes_on_a_sound_model(model: Any, dtype: torch.dtype) -> None:
    model.to(dtype).train()
    assert self_test(model) <= attention.TOLERANCE[dtype]
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_self_test_stops_a_leak(monkeypatch: pytest.MonkeyPatch, model: Any, dtype: torch.dtype) -> None:
    model.to(dtype)
    monkeypatch.setattr(attention, "attention_kwargs", lambda bounds: {})
    with pytest.raises(TrainingError, match=r"samples in one row must give what they give alone"):
        self_test(model)


def test_self_test_stops_not_a_number(model: Any) -> None:
    with torch.no_grad():
        model.model.language_model.norm.weight[0] = torch.nan
    with pytest.raises(TrainingError, match="differ by nan"):
        self_test(model)


def test_longest_is_counted_when_it_is_not_given() -> None:
    bounds = torch.tensor([0, 3, 10, 12], dtype=torch.int32)
    assert attention_kwargs(bounds)["max_length_k"] == 7
    assert attention_kwargs(bounds, 7) == attention_kwargs(bounds)
    assert attention_kwargs(None) == {}
