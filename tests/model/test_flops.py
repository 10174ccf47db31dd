from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.flops import FlopCount, Utilization, Work, count_flops, peak_tflops
from dcap.model.load import load_model
from dcap.model.lora import attach
from dcap.train.loss import SupervisedLoss, model_inputs
from support.batches import fake_sample, packed, padded
from support.experts import build_experts

CPU = torch.device("cpu")
SAMPLES = [fake_sample(1, ((4, 6),), prompt=9, answer=7), fake_sample(2, ((8, 4), (2, 2)), answer=5)]


class Counter(TorchDispatchMode):
    """Adds up operations by torch's own formulas; its `FlopCounterMode` cannot run where a loss asks for gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.products = self.attention = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        name = str(function)
        if "attention" in name:
            # Two products forward, each with two backward; a kernel that makes the scores anew does more.
            query = args[1 if "backward" in name else 0]
            self.attention += (8 if "backward" in name else 4) * query.shape[-2] * query.numel()
        elif formula := flop_registry.get(function._overloadpacket):
            self.products += formula(*args, **(kwargs or {}), out_val=out)
        return out


def counted(model: Any, batch: Any) -> tuple[int, int]:
    """Operations of one forward and backward pass as torch counts them: of products, and of attention."""
    module = SupervisedLoss(model, chunk_tokens=1000, dtype=torch.float32).train()
    with Counter() as counter:
        module(**model_inputs(batch, CPU)).loss_sum.backward()
    return counter.products, counter.attention


def dense_width(folder: Path) -> int:
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return int(settings["text_config"]["intermediate_size"])


def of_products(flops: FlopCount, work: Work) -> float:
    return flops.token * work.tokens + flops.supervised * work.supervised + flops.patch * work.patches


def model_of(folder: Path, adapter: AdapterConfig, frozen: str = "") -> Any:
    towers = {f"freeze_{tower}": tower in frozen.split() for tower in ("llm", "vit", "aligner")}
    config = ModelConfig(str(folder), dtype="float32", adapter=adapter, **towers)
    return attach(load_model(config, CPU), config)


CASES = {
    "full": (AdapterConfig("full"), ""),
    "full, frozen vision tower": (AdapterConfig("full"), "vit"),
    "full, language model alone": (AdapterConfig("full"), "vit aligner"),
    "lora": (AdapterConfig(rank=4), ""),
    "lora, language model alone": (AdapterConfig(rank=4), "vit aligner"),
    "lora, last layers": (AdapterConfig(rank=4, layers={"llm": "last 1"}), "vit aligner"),
    "rslora, aligner in full": (AdapterConfig("rslora", rank=4, modules_to_save=("merger",)), "vit"),
}


@pytest.mark.parametrize("case", CASES)
def test_products_are_those_that_torch_counts(micro_folder: Path, case: str) -> None:
    adapter, frozen = CASES[case]
    model, batch = model_of(micro_folder, adapter, frozen), packed(SAMPLES)
    work = Work.of(batch)
    products, _ = counted(model, batch)
    assert of_products(count_flops(model), work) == pytest.approx(products, rel=1e-12)


@pytest.mark.parametrize("case", ["full", "lora, language model alone", "lora, last layers"])
def test_attention_sees_each_pair_once_and_half_of_them_in_the_language_model(micro_folder: Path, case: str) -> None:
    model, batch = model_of(micro_folder, *CASES[case]), packed(SAMPLES)
    work, flops = Work.of(batch), count_flops(model)
    _, attention = counted(model, batch)
    assert 2 * flops.token_pair * work.token_pairs + flops.patch_pair * work.patch_pairs == attention > 0


def test_of_experts_those_count_that_a_token_takes(micro_folder: Path, tmp_path: Path) -> None:
    adapter = AdapterConfig(rank=4, target_modules=("q_proj", "k_proj", "v_proj", "o_proj"))
    model = model_of(build_experts(micro_folder, tmp_path / "experts"), adapter, "vit aligner")
    text, layers = model.get_base_model().config.text_config, len(model.get_base_model().model.language_model.layers)
    weights = dict(model.get_base_model().model.language_model.layers[1].mlp.named_parameters())
    taken = sum(p.numel() for n, p in weights.items() if "experts" in n) * text.num_experts_per_tok / text.num_experts
    dense = count_flops(model_of(micro_folder, adapter, "vit aligner"))
    mlp = 3 * text.hidden_size * dense_width(micro_folder)
    assert count_flops(model).token - dense.token == pytest.approx(
        4 * layers * (taken + weights["gate.weight"].numel() - mlp), rel=1e-12
    )


def test_padding_and_fillers_are_no_work() -> None:
    short, long = fake_sample(1, ((4, 4),), prompt=3), fake_sample(2, ((2, 6), (8, 8)), prompt=30)
    lengths = [len(sample.input_ids) for sample in (short, long)]
    want = Work(
        tokens=sum(lengths),
        token_pairs=sum(n * n for n in lengths),
        supervised=12,
        patches=16 + 12 + 64,
        patch_pairs=16**2 + 12**2 + 64**2,
    )
    assert Work.of(padded([short, long])) == Work.of(packed([short, long])) == want
    assert Work.of(packed([short])) + Work.of(packed([long])) == want
    filler = fake_sample(3, (), weight=0.0)
    assert Work.of(packed([short, long, filler])).tokens == want.tokens


def test_the_shares_are_of_all_devices() -> None:
    flops = FlopCount(token=6e9, token_pair=1e3, supervised=2e9, patch=1e9, patch_pair=0.0)
    work = Work(tokens=1000, token_pairs=10**6, supervised=100, patches=400, patch_pairs=10**5)
    language, vision = 6e12 + 1e9 + 2e11, 4e11
    found = Utilization(flops, num_devices=4, peak=100.0).metrics(work, 0.5)
    assert found["tflops"] == pytest.approx((language + vision) / 4 / 0.5 / 1e12)
    assert found["mfu"] == pytest.approx(found["tflops"] / 100)
    assert found["mfu_language"] == pytest.approx(language / 4 / 0.5 / 1e14)
    assert Utilization(flops, num_devices=4, peak=None).metrics(work, 0.5) == {"tflops": found["tflops"]}


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H100 80GB HBM3", 989.0), ("NVIDIA H100 PCIe", 756.0), ("NVIDIA L40S", 362.0), ("NVIDIA X1", None)],
)
def test_peaks_of_usual_gpus(name: str, peak: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert peak_tflops(torch.device("cuda"), torch.bfloat16) == peak
    assert peak_tflops(torch.device("cuda"), torch.float32) is None
    assert peak_tflops(CPU, torch.bfloat16) is None
