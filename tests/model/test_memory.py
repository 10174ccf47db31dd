"""The count on fake tensors against small models that run: what a forward pass leaves, and the peak of a step."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dcap.model import layer_cost, memory
from dcap.model.attention import use_attention
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.layer_cost import LiveBytes, MemoryRows, MemoryStep, storage_of
from dcap.model.load import blank_model, load_model
from dcap.model.lora import attach, bare_model, enable_activation_checkpointing, trainable
from dcap.model.memory import MemoryEstimate, StepCost, Weights, estimate_memory, measure_step
from dcap.model.patch_embedding import multiply_patches
from dcap.model.quantization import quantise
from dcap.train.config import TrainingConfig
from dcap.train.distill_config import DistillConfig
from dcap.train.loss import SupervisedLoss
from dcap.train.optimizer import build_optimizer
from dcap.train.teacher import Teacher
from support.batches import IMAGE_PAD, fake_sample, packed, padded
from support.experts import expert_settings
from support.few_bits import held_tensors

FACTOR = (0.9, 1.1)
CHUNK = 8
SAMPLES = (fake_sample(1, images=((8, 12),), prompt=5, answer=6), fake_sample(2, images=((4, 4), (4, 8)), prompt=9))


def small_model(config: ModelConfig, layers: int = 2, depth: int = 3, experts: bool = False) -> Any:
    """A random model in which every width is another, so that no coefficient can stand for its neighbour."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLMoeForConditionalGeneration

    text = {
        "vocab_size": 2500,
        "hidden_size": 96,
        "intermediate_size": 224,
        "num_hidden_layers": layers,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [4, 2, 2]},
    }
    vision = {
        "depth": depth,
        "hidden_size": 80,
        "intermediate_size": 176,
        "num_heads": 5,
        "out_hidden_size": 96,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 2],
    }
    settings = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, image_token_id=2400)
    dtype = getattr(torch, config.dtype)
    if experts:
        model = Qwen3VLMoeForConditionalGeneration._from_config(expert_settings(settings), dtype=dtype)
    else:
        model = Qwen3VLForConditionalGeneration._from_config(settings, dtype=dtype)
    multiply_patches(model)
    use_attention(model, "segments")
    model.config.text_config.use_cache = False
    return model


def kept_bytes(model: Any, step: MemoryStep, batch: dict[str, Any]) -> int:
    """Bytes that are alive after a forward pass, but for weights and their copies in half precision."""
    if step.activation_checkpointing:
        enable_activation_checkpointing(model)
    module = SupervisedLoss(model, step.loss_chunk_tokens, step.dtype).train()
    trained = {storage_of(each) for each in module.parameters() if each.requires_grad}
    with LiveBytes(trained) as live:
        output = module(**batch)
    assert torch.isfinite(output.loss_sum)
    given = [*module.parameters(), *module.buffers(), *(each for each in batch.values() if torch.is_tensor(each))]
    left_out = {storage_of(each) for each in given} | live.casts.keys()
    return sum(count for place, count in live.alive.items() if place not in left_out)


def rows_of(batch: dict[str, Any]) -> MemoryRows:
    counts = (batch["input_ids"].numel(), len(batch["pixel_values"]), int((batch["labels"] != -100).sum()))
    return MemoryRows(*(np.array([count]) for count in counts))


def make_batch(model: Any, join: Any = packed, samples: Any = SAMPLES) -> dict[str, Any]:
    """A batch whose words the model's vocabulary holds."""
    batch: dict[str, Any] = join(samples)
    for name in ("samples", "mm_token_type_ids", "token_kinds"):  # what no model takes
        batch.pop(name, None)
    ids = batch["input_ids"].where(batch["input_ids"] != IMAGE_PAD, model.config.image_token_id)
    batch["input_ids"] = ids.where(ids < model.config.text_config.vocab_size, 0)
    batch["pixel_values"] = torch.randint(0, 256, (len(batch["pixel_values"]), 768), dtype=torch.uint8)
    return batch


CASES = [
    ("lora", "float32", "vit", False),
    ("lora", "float32", "", True),
    ("lora", "bfloat16", "", False),
    ("lora", "bfloat16", "vit", True),
    ("lora", "bfloat16", "llm aligner", False),
    ("full", "float32", "", False),
    ("full", "float32", "vit", True),
    ("full", "bfloat16", "vit", False),
    ("full", "bfloat16", "llm vit", False),
    ("dora", "bfloat16", "", False),
    ("dora", "float32", "vit", True),
]


def case_config(kind: Any, dtype: Any, frozen: str, dropout: float = 0.0) -> ModelConfig:
    towers = {f"freeze_{tower}": tower in frozen.split() for tower in ("llm", "vit", "aligner")}
    return ModelConfig("x", dtype=dtype, adapter=AdapterConfig(type=kind, rank=4, dropout=dropout), **towers)


@pytest.mark.parametrize(("kind", "dtype", "frozen", "checkpointing"), CASES)
def test_activations_are_what_autograd_keeps(kind: str, dtype: str, frozen: str, checkpointing: bool) -> None:
    config = case_config(kind, dtype, frozen)
    model = attach(small_model(config), config)
    step = MemoryStep(getattr(torch, dtype), checkpointing, CHUNK, cuda=False)
    batch = make_batch(model)
    estimate = int(measure_step(model, step).kept.at(rows_of(batch))[0])
    assert FACTOR[0] < estimate / kept_bytes(model, step, batch) < FACTOR[1]


@pytest.mark.parametrize(("dtype", "checkpointing"), [("float32", False), ("bfloat16", False), ("bfloat16", True)])
def test_activations_of_experts_are_counted(dtype: str, checkpointing: bool) -> None:
    config = case_config("lora", dtype, "vit")
    model = attach(small_model(config, experts=True), config)
    step = MemoryStep(getattr(torch, dtype), checkpointing, CHUNK, cuda=False)
    batch = make_batch(model)
    estimate = int(measure_step(model, step).kept.at(rows_of(batch))[0])
    assert FACTOR[0] < estimate / kept_bytes(model, step, batch) < FACTOR[1]


@pytest.mark.parametrize(
    ("kind", "dtype", "frozen", "checkpointing", "few_bits", "teacher"),
    [
        ("lora", "bfloat16", "vit", True, False, False),
        ("lora", "bfloat16", "vit", True, True, False),
        ("lora", "bfloat16", "vit", True, False, True),
        ("full", "float32", "", True, False, False),
        ("full", "bfloat16", "", False, False, False),
    ],
)
def test_the_total_is_the_peak_of_two_micro_batches(
    kind: str, dtype: str, frozen: str, checkpointing: bool, few_bits: bool, teacher: bool
) -> None:
    config = case_config(kind, dtype, frozen)
    counted = attach(small_model(config), config)
    model = attach(quantised_model(config), config) if few_bits else counted
    if checkpointing:
        enable_activation_checkpointing(model)
    step = MemoryStep(
        getattr(torch, dtype),
        checkpointing,
        CHUNK,
        cuda=False,
        quantised=few_bits,
        moments_in_8_bits=few_bits,
        has_teacher=teacher,
    )
    batch = make_batch(model, samples=[fake_sample(k, ((12, 16),), prompt=20, answer=80) for k in range(3)])
    first = make_batch(model, samples=[fake_sample(3, ((4, 4),))])
    if teacher:
        for each in (batch, first):
            each["teacher_weights"] = (each["labels"] != -100).float()
    training = TrainingConfig("x", optimizer="adamw8bit" if few_bits else "adamw")
    asked = Teacher(model, DistillConfig(), step.dtype) if teacher else None
    module = SupervisedLoss(model, CHUNK, step.dtype, teacher=asked).train()
    optimizer = build_optimizer(model, training)
    with LiveBytes(()) as live:
        for tensor in (*held_tensors(model), *batch.values(), *first.values()):
            live.add(tensor)
        for batches in ([first], [batch, batch]):  # the moments are there from the second step on
            for each in batches:
                output = module(**each)
                (output.compared.divergence_sum + output.loss_sum if teacher else output.loss_sum).backward()
                del output
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    assert FACTOR[0] < estimate_memory(counted, step, rows_of(batch)).total / live.most < FACTOR[1]


@pytest.mark.parametrize(("dtype", "kind"), [("float32", "lora"), ("bfloat16", "lora"), ("bfloat16", "dora")])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_base_in_4_bits_keeps_what_is_counted(dtype: str, kind: str, checkpointing: bool) -> None:
    config = case_config(kind, dtype, "vit")
    model = attach(quantised_model(config), config)
    step = MemoryStep(getattr(torch, dtype), checkpointing, CHUNK, cuda=False, quantised=True)
    batch = make_batch(model)
    estimate = int(measure_step(attach(small_model(config), config), step).kept.at(rows_of(batch))[0])
    assert FACTOR[0] < estimate / kept_bytes(model, step, batch) < FACTOR[1]


def quantised_model(config: ModelConfig) -> Any:
    model = small_model(config)
    quantise(model, torch.device("cpu"))
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dropout_keeps_masks(dtype: str) -> None:
    config = case_config("lora", dtype, "vit", dropout=0.1)
    model = attach(small_model(config), config)
    step = MemoryStep(getattr(torch, dtype), False, CHUNK, cuda=False)
    batch = make_batch(model)
    estimate = int(measure_step(model, step).kept.at(rows_of(batch))[0])
    assert FACTOR[0] < estimate / kept_bytes(model, step, batch) < FACTOR[1]


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_padded_rows_of_the_micro_model_too(kind: str, micro_folder: Path) -> None:
    config = ModelConfig(str(micro_folder), dtype="float32", adapter=AdapterConfig(type=kind))
    model = attach(load_model(config, torch.device("cpu")), config)
    step = MemoryStep(torch.float32, False, CHUNK, cuda=False)
    batch = make_batch(model, padded)
    estimate = int(measure_step(model, step).kept.at(rows_of(batch))[0])
    assert FACTOR[0] < estimate / kept_bytes(model, step, batch) < FACTOR[1]


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["adamw", "adamw8bit"])
def test_weights_gradients_and_moments_are_exact(kind: str, dtype: str, name: Any) -> None:
    config = case_config(kind, dtype, "vit")
    model = attach(small_model(config), config)
    found = Weights.of(model, moments_in_8_bits=name == "adamw8bit")
    parameters = trainable(model)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer = build_optimizer(model, TrainingConfig("unused", optimizer=name))
    optimizer.step()
    left_out = ("step", "qmap1", "qmap2")  # the last two are one KiB each, of all weights together
    state = [value for each in optimizer.state.values() for entry, value in each.items() if entry not in left_out]
    assert found.moments == sum(value.nbytes for value in state)
    assert found.gradients == sum(p.grad.nbytes for p in parameters.values() if p.grad is not None)
    assert found.trained == sum(p.nbytes for p in parameters.values())
    assert found.frozen + found.trained == sum(p.nbytes for p in model.parameters())


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_shares_are_by_rows_and_the_first_is_the_largest(kind: str) -> None:
    config = case_config(kind, "bfloat16", "vit")
    model = attach(small_model(config), config)
    parts = [p.chunk(7)[0] for p in model.parameters()]
    assert any(len(p) % 7 for p in model.parameters()), "none of it would be rounded"
    found = Weights.of(model, 7)
    assert found.frozen == sum(p.nbytes for p in parts if not p.requires_grad)
    trained = [p for p in parts if p.requires_grad]
    assert (found.trained, found.gradients, found.moments) == (
        sum(p.nbytes for p in trained), 4 * sum(p.numel() for p in trained), 8 * sum(p.numel() for p in trained),
    )  # fmt: skip


Estimate = Callable[..., MemoryEstimate]


@lru_cache
def cost_of(kind: str, checkpointing: bool) -> StepCost:
    config = case_config(kind, "bfloat16", "vit")
    return measure_step(attach(small_model(config), config), MemoryStep(torch.bfloat16, checkpointing, CHUNK))


@pytest.fixture
def estimate(monkeypatch: pytest.MonkeyPatch) -> Estimate:
    """Estimate with costs that are measured once for all tests."""

    def estimate(
        rows: MemoryRows, checkpointing: bool = False, chunk: int = CHUNK, kind: str = "lora"
    ) -> MemoryEstimate:
        monkeypatch.setattr(memory, "measure_step", lambda model, step: cost_of(kind, step.activation_checkpointing))
        config = case_config(kind, "bfloat16", "vit")
        model = attach(small_model(config), config)
        return estimate_memory(model, MemoryStep(torch.bfloat16, checkpointing, chunk), rows)

    return estimate


def test_the_heaviest_row_counts(estimate: Estimate) -> None:
    rows = MemoryRows(np.array([100, 400, 200]), np.array([100, 100, 100]), np.array([50, 50, 50]))
    found = estimate(rows)
    assert found.row == 1
    others = MemoryRows(*(each[[0, 2]] for each in (rows.tokens, rows.patches, rows.supervised)))
    assert found.total > estimate(others).total
    parts = (found.casts, found.activations, found.recomputed, found.working, found.loss, found.patches)
    weights = found.weights
    assert found.total == sum(parts) + weights.frozen + weights.trained + weights.gradients + weights.moments


def test_checkpointing_keeps_one_layer_at_a_time(estimate: Estimate) -> None:
    rows = MemoryRows(np.array([4000]), np.array([400]), np.array([500]))
    plain, checkpointed = estimate(rows), estimate(rows, checkpointing=True)
    assert plain.recomputed == 0
    assert 0 < checkpointed.recomputed < plain.activations
    assert checkpointed.total < plain.total


def test_the_loss_takes_a_chunk_of_logits(estimate: Estimate) -> None:
    rows = MemoryRows(np.array([900]), np.array([64]), np.array([300]))
    assert estimate(rows, chunk=8).loss * 2 == estimate(rows, chunk=16).loss
    # No chunk is longer than what is supervised.
    assert estimate(rows, chunk=300).loss == estimate(rows, chunk=4000).loss
    # A head that trains has its gradient taken there as well.
    assert estimate(rows, kind="full").loss - estimate(rows).loss == 4 * 2500 * 96


def test_cuda_keeps_a_float32_copy_of_each_norm_of_the_vision_tower_and_a_byte_per_dropout() -> None:
    config = case_config("lora", "bfloat16", "llm")
    model = attach(small_model(config), config)
    cpu, cuda = (measure_step(model, MemoryStep(torch.bfloat16, False, CHUNK, cuda=on)).kept for on in (False, True))
    # 3 blocks with 2 norms each; the first norm sees no gradient; and 3 mergers with one: 80 wide, 2 bytes more.
    # Mean and deviation of each, 2 bytes more; those of the 2 mergers of features once for 4 patches.
    assert cuda.patch - cpu.patch == 8 * 80 * 2 + 6 * 4 + 2 * 4 / 4
    assert cuda.token == cpu.token
    config = case_config("lora", "bfloat16", "vit aligner", dropout=0.1)
    model = attach(small_model(config), config)
    cpu, cuda = (measure_step(model, MemoryStep(torch.bfloat16, False, CHUNK, cuda=on)).kept for on in (False, True))
    # LoRA drops out float32 inputs: of q, k, v, gate and up 96 wide, of o 128, of down 224; and in the first layer,
    # whose q, k and v see no gradient, the others.
    assert cpu.token - cuda.token == 3 * (2 * (5 * 96 + 128 + 224) - 3 * 96)


def test_the_model_is_left_as_it_was() -> None:
    config = case_config("lora", "float32", "vit")
    model = attach(small_model(config), config).eval()
    enable_activation_checkpointing(model)
    text, layer = model.config.text_config, bare_model(model).model.language_model.layers[0]
    before = text._attn_implementation
    measure_step(model, MemoryStep(torch.float32, True, CHUNK))
    assert (text._attn_implementation, model.training, layer.gradient_checkpointing) == (before, False, True)
    assert all(p.grad is None for p in model.parameters())


def test_one_layer_of_each_kind_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many layers there are; those with an adapter are another kind than those without."""
    config = ModelConfig(
        "x",
        dtype="bfloat16",
        freeze_vit=False,
        adapter=AdapterConfig(
            rank=4, target_modules=r".*(layers\.[012]|blocks\.0)\..*(q_proj|qkv)|.*merger.*linear_fc1"
        ),
    )
    with torch.device("meta"):
        model = small_model(config, layers=40, depth=30)
    runs: list[str] = []

    def run(module: Any, *args: Any) -> Any:
        runs.append(type(module).__name__)
        return counted(module, *args)

    counted = layer_cost._run
    monkeypatch.setattr(layer_cost, "_run", run)
    measure_step(attach(model, config), MemoryStep(torch.bfloat16, False, CHUNK))
    # Two numbers of positions each; the first block sees no gradient.
    assert runs.count("Qwen3VLTextDecoderLayer") == 2 * 2
    assert runs.count("Qwen3VLVisionBlock") == 2 * 2
    assert runs.count("Qwen3VLVisionPatchMerger") == 2 * 2


@pytest.mark.parametrize(
    ("kind", "frozen"),
    [("lora", "vit"), ("lora", ""), ("dora", "vit"), ("full", "llm vit")],
)
def test_a_blank_model_has_the_counts_of_the_real_one(kind: Any, frozen: str, micro_folder: Path) -> None:
    from dcap.model.towers import count_parameters

    towers = {f"freeze_{tower}": tower in frozen.split() for tower in ("llm", "vit", "aligner")}
    config = ModelConfig(str(micro_folder), dtype="bfloat16", adapter=AdapterConfig(type=kind), **towers)
    blank, real = attach(blank_model(config), config), attach(load_model(config, torch.device("cpu")), config)
    assert all(p.is_meta for p in blank.parameters())
    assert count_parameters(blank) == count_parameters(real)
    assert Weights.of(blank) == Weights.of(real)
    step = MemoryStep(torch.bfloat16, False, CHUNK)
    rows = MemoryRows(np.array([400]), np.array([100]), np.array([50]))
    assert estimate_memory(blank, step, rows) == estimate_memory(real, step, rows)
