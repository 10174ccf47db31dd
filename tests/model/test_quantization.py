"""A base in 4 bits: which weights, to which bits, and what adapters make of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit

from dcap.core.errors import ConfigError, MissingPackageError
from dcap.model import quantization
from dcap.model.attention import self_test
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.fingerprint import weights_digest
from dcap.model.load import blank_model, load_exact, load_model
from dcap.model.lora import attach, load_adapter, save_adapter, trainable
from dcap.model.memory import Weights
from dcap.model.quantization import is_quantised, quantised_bytes
from dcap.model.towers import count_parameters, tower_of
from support.few_bits import held_tensors
from support.tuned import CPU, logits_of


def config(folder: Path, **changes: Any) -> ModelConfig:
    given = {"dtype": "float32", "quantization": "nf4", "adapter": AdapterConfig(rank=4), **changes}
    return ModelConfig(str(folder), **given)


@pytest.fixture(scope="module")
def quantised(micro_folder: Path) -> Any:
    """The micro model in 4 bits, not to be changed."""
    return load_model(config(micro_folder), CPU)


def test_only_linear_layers_of_the_language_model_are_in_4_bits(quantised: Any, micro_folder: Path) -> None:
    plain = dict(load_model(config(micro_folder, quantization="none"), CPU).named_parameters())
    in_4_bits = {name for name, module in quantised.named_modules() if isinstance(module, Linear4bit)}
    layers = quantised.config.text_config.num_hidden_layers
    assert len(in_4_bits) == 7 * layers
    assert {tower_of(name) for name in in_4_bits} == {"llm"}
    assert all(".layers." in name for name in in_4_bits), "neither head nor embedding"
    for name, weight in quantised.named_parameters():
        assert is_quantised(name) == (name.removesuffix(".weight") in in_4_bits)
        if is_quantised(name):
            assert weight.dtype == torch.uint8
            assert weight.numel() * 2 == plain[name].numel()
        else:
            assert torch.equal(weight, plain[name])
    assert not any(weight.requires_grad for name, weight in quantised.named_parameters() if is_quantised(name))


def test_the_4_bits_are_those_of_transformers(micro_folder: Path) -> None:
    from transformers import BitsAndBytesConfig, Qwen3VLForConditionalGeneration

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["model.visual", "lm_head"],
    )
    theirs = Qwen3VLForConditionalGeneration.from_pretrained(
        micro_folder, dtype=torch.bfloat16, quantization_config=settings, device_map="cpu"
    )
    ours = load_model(config(micro_folder, dtype="bfloat16"), CPU)
    expected = dict(theirs.named_parameters())
    for name, weight in ours.named_parameters():
        assert torch.equal(weight, expected[name]), name
        if is_quantised(name):
            assert torch.equal(dequantised(weight), dequantised(expected[name]))


def dequantised(weight: Any) -> torch.Tensor:
    values: torch.Tensor = dequantize_4bit(weight.data, weight.quant_state)
    return values


def test_the_4_bits_do_not_depend_on_the_precision_of_the_model(quantised: Any, micro_folder: Path) -> None:
    half = dict(load_model(config(micro_folder, dtype="bfloat16"), CPU).named_parameters())
    for name, weight in quantised.named_parameters():
        if is_quantised(name):
            assert torch.equal(weight, half[name])
            assert torch.equal(dequantised(weight).bfloat16(), dequantised(half[name]))


def test_weights_of_4_bits_are_near_those_of_the_model(quantised: Any, micro_folder: Path) -> None:
    plain = dict(load_model(config(micro_folder, quantization="none"), CPU).named_parameters())
    for name, weight in quantised.named_parameters():
        if is_quantised(name):
            error = (dequantised(weight) - plain[name]).norm() / plain[name].norm()
            assert 0.01 < error < 0.15, "16 values for each number, spread as a normal distribution"


def test_the_digest_is_that_of_the_weights_before(quantised: Any, micro_folder: Path) -> None:
    assert weights_digest(quantised) == weights_digest(load_exact(config(micro_folder)))


def test_an_exact_model_is_not_quantised(micro_folder: Path) -> None:
    assert not any(isinstance(module, Linear4bit) for module in load_exact(config(micro_folder)).modules())


def test_packed_rows_pass_the_self_test(micro_folder: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        self_test(load_model(config(micro_folder, dtype=dtype), CPU))


def held_bytes(model: Any) -> int:
    """Bytes of a model in memory, what bitsandbytes keeps beside its weights included."""
    storages = [each.untyped_storage() for each in held_tensors(model)]
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_memory_is_as_counted_without_weights(dtype: str, micro_folder: Path) -> None:
    wanted = config(micro_folder, dtype=dtype)
    real, blank = load_model(wanted, CPU), attach(blank_model(wanted), wanted)
    found = Weights.of(blank, quantised=True)
    assert found.frozen == held_bytes(real)
    assert found.frozen < Weights.of(blank).frozen
    assert count_parameters(attach(real, wanted)) == count_parameters(blank)


def test_a_large_matrix_takes_half_a_byte_and_its_scales() -> None:
    assert quantised_bytes(4096 * 12_288) / (4096 * 12_288) == pytest.approx(0.5 + 1 / 64 + 4 / 64 / 256, abs=1e-4)


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.randint(0, 200, (1, 24), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["lora", "rslora", "dora"])
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param  # type: ignore[no-any-return]


def test_adapters_train_and_come_back(kind: Any, ids: torch.Tensor, micro_folder: Path, tmp_path: Path) -> None:
    wanted = config(micro_folder, adapter=AdapterConfig(type=kind, rank=4))
    plain = replace(wanted, quantization="none")
    torch.manual_seed(0)
    tuned = attach(load_model(wanted, CPU), wanted)
    torch.manual_seed(0)
    assert trainable(tuned).keys() == trainable(attach(load_model(plain, CPU), plain)).keys()
    before = logits_of(tuned)
    for _ in range(2):
        tuned(input_ids=ids, use_cache=False).logits.logsumexp(-1).sum().backward()
        with torch.no_grad():
            for name, weight in trainable(tuned).items():
                if tower_of(name) == "llm":
                    assert weight.grad is not None
                    weight -= 0.01 * weight.grad.sign()
        tuned.zero_grad()
    after = logits_of(tuned)
    assert (after - before).abs().max() > 1e-3
    save_adapter(tuned, tmp_path)
    again = load_adapter(load_model(wanted, CPU), tmp_path)
    assert torch.equal(logits_of(again.eval()), logits_of(tuned.eval()))
    unquantised = logits_of(load_adapter(load_model(plain, CPU), tmp_path).eval())
    assert (unquantised - after).abs().max() > 1e-3


def test_prediction_rounds_as_training_does(quantised: Any, ids: torch.Tensor) -> None:
    """On some CPUs bitsandbytes would repack the weights where nothing trains."""
    layers = [module for module in quantised.modules() if isinstance(module, Linear4bit)]
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)
    with torch.no_grad():
        asked = quantised.eval()(input_ids=ids, use_cache=False).logits
        trained = quantised.train()(input_ids=ids, use_cache=False).logits
    quantised.eval()
    assert torch.equal(asked, trained)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "full"}, "quantization must be none with adapter.type full, not nf4.*Set adapter.type=lora"),
        ({"init": "pissa"}, "adapter.init must be default with quantization nf4, not pissa"),
        ({"init": "olora"}, "adapter.init must be default with quantization nf4, not olora"),
        *(
            ({"modules_to_save": (name,)}, f"modules_to_save must not name {name} with quantization nf4.*Leave it out")
            for name in ("q_proj", "mlp", "mlp.up_proj", "layers.3", "language_model", "model.language_model.layers.0")
        ),
    ],
)
def test_what_cannot_work_is_refused_before_a_model_is_read(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig("nowhere", quantization="nf4", adapter=AdapterConfig(**changes))
    ModelConfig("nowhere", adapter=AdapterConfig(**changes))


@pytest.mark.parametrize("name", ["merger", "deepstack_merger_list.0", "lm_head", "language_model.norm", "q_norm"])
def test_modules_beside_the_4_bits_may_train_in_full(name: str) -> None:
    ModelConfig("nowhere", quantization="nf4", adapter=AdapterConfig(modules_to_save=(name,)))


def test_the_missing_package_is_named_before_a_model_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "has_bitsandbytes", lambda: False)
    message = r"model.quantization nf4: bitsandbytes must be installed, and is not. Run: pip install .*\[quantized\]"
    with pytest.raises(MissingPackageError, match=message):
        load_model(ModelConfig("nowhere", quantization="nf4"), CPU)
