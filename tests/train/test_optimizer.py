from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dcap.core.errors import CheckpointError, MissingPackageError
from dcap.model import quantization
from dcap.model.lora import trainable
from dcap.model.towers import tower_of
from dcap.train.config import TrainingConfig
from dcap.train.optimizer import (
    build_optimizer,
    optimizer_tensors,
    peak_rates,
    restore_optimizer,
    set_learning_rates,
)
from dcap.train.step import Learner
from dcap.train.weights import save_pieces

RATES: dict[str, Any] = {"learning_rate": 1e-3, "vit_lr": 1e-5, "aligner_lr": 2e-4, "weight_decay": 0.1}


def test_each_tower_has_its_rate_and_no_parameter_is_lost(make_learner: Callable[..., Learner]) -> None:
    learner = make_learner(model={"freeze_vit": False}, training=RATES)
    rate_of = {id(p): group["lr"] for group in learner.optimizer.param_groups for p in group["params"]}
    assert len(rate_of) == len(learner.parameters)
    expected = {"llm": 1e-3, "vit": 1e-5, "aligner": 2e-4}
    assert all(rate_of[id(p)] == expected[tower_of(name)] for name, p in learner.parameters.items())


def test_towers_without_their_own_rate_take_the_common_one() -> None:
    assert peak_rates(TrainingConfig("out", learning_rate=3e-4)) == {"llm": 3e-4, "vit": 3e-4, "aligner": 3e-4}


def test_decay_spares_biases_norms_and_embeddings(make_learner: Callable[..., Learner]) -> None:
    from dcap.model.config import AdapterConfig

    learner = make_learner(model={"adapter": AdapterConfig(type="full")}, training=RATES)
    names = {id(p): name for name, p in learner.parameters.items()}
    decayed = {names[id(p)] for g in learner.optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    spared = set(learner.parameters) - decayed
    assert "model.language_model.embed_tokens.weight" in spared
    assert "model.language_model.layers.0.input_layernorm.weight" in spared
    assert "model.visual.merger.linear_fc1.bias" in spared
    assert "model.visual.merger.linear_fc1.weight" in decayed
    assert "model.language_model.layers.0.self_attn.q_proj.weight" in decayed


def test_rates_follow_the_factor(make_learner: Callable[..., Learner]) -> None:
    optimizer = make_learner(training=RATES).optimizer
    assert set_learning_rates(optimizer, 0.5) == {"llm": 5e-4, "aligner": 1e-4}
    assert set_learning_rates(optimizer, 0.25) == {"llm": 2.5e-4, "aligner": 5e-5}, "the peak is not forgotten"


@pytest.mark.parametrize("name", ["adamw", "adamw8bit"])
def test_lora_plus_gives_the_rates_of_peft(name: str, make_learner: Callable[..., Learner]) -> None:
    from peft.optimizers import create_loraplus_optimizer

    learner = make_learner(training={"learning_rate": 1e-3, "lora_plus_ratio": 16.0, "optimizer": name})
    theirs = create_loraplus_optimizer(learner.bare_module.model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16.0)

    def rates(optimizer: torch.optim.Optimizer) -> dict[int, float]:
        return {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}

    assert rates(learner.optimizer) == pytest.approx(rates(theirs))
    assert set_learning_rates(learner.optimizer, 0.5) == {"llm": 5e-4, "aligner": 5e-4}, "the rate of the towers"
    assert sorted(set(rates(learner.optimizer).values())) == pytest.approx([5e-4, 8e-3])


class Toy(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.used = torch.nn.Linear(3, 2)
        self.large = torch.nn.Linear(3, 1500)  # has moments in 8 bits
        self.unused = torch.nn.Parameter(torch.zeros(2, 2))


def trained(steps: int, **training: Any) -> tuple[Toy, torch.optim.Optimizer]:
    toy = Toy()
    optimizer = build_optimizer(toy, TrainingConfig("out", **{"learning_rate": 0.1, **training}))
    run(toy, optimizer, range(steps))
    return toy, optimizer


def run(toy: Toy, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        given = torch.tensor([[1.0, -2.0, 0.5]]) * (step + 1)
        (toy.used(given).square().sum() + toy.large(given).square().sum()).backward()
        optimizer.step()


ENTRIES = {
    ("adamw", "used"): {"step", "exp_avg", "exp_avg_sq"},
    ("adamw", "large"): {"step", "exp_avg", "exp_avg_sq"},
    ("adamw8bit", "used"): {"step", "state1", "state2"},
    ("adamw8bit", "large"): {"step", "state1", "state2", "absmax1", "absmax2", "qmap1", "qmap2"},
}
"""The state of a weight with few and of one with many numbers."""


@pytest.mark.parametrize("name", ["adamw", "adamw8bit"])
def test_a_restored_optimizer_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    expected, _ = trained(5, optimizer=name, weight_decay=0.1)
    toy, optimizer = trained(2, optimizer=name, weight_decay=0.1)
    save_pieces(optimizer_tensors(optimizer, trainable(toy)), tmp_path, "optimizer")
    state = load_file(tmp_path / "optimizer.safetensors")
    for part in ("used", "large"):
        assert {key.partition("/")[2] for key in state if key.startswith(f"{part}.weight")} == ENTRIES[name, part]
    again = Toy()
    again.load_state_dict(toy.state_dict())
    fresh = build_optimizer(again, TrainingConfig("out", learning_rate=0.1, optimizer=name, weight_decay=0.1))
    restore_optimizer(fresh, trainable(again), state)
    run(again, fresh, range(2, 5))
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in again.state_dict().items())


def test_moments_in_8_bits_are_bytes_but_for_small_weights() -> None:
    toy, optimizer = trained(1, optimizer="adamw8bit")
    state = optimizer_tensors(optimizer, trainable(toy))
    assert {key: value.dtype for key, value in state.items() if "/state" in key} == {
        **{f"large.weight/state{i}": torch.uint8 for i in (1, 2)},
        **{f"{part}/state{i}": torch.float32 for part in ("used.weight", "used.bias", "large.bias") for i in (1, 2)},
    }


def test_8_bits_go_nearly_the_way_of_32() -> None:
    given = {"learning_rate": 1e-3, "weight_decay": 0.1}
    near, exact = (trained(20, optimizer=name, **given)[0] for name in ("adamw8bit", "adamw"))
    start = Toy()
    for key, value in exact.state_dict().items():
        moved = (value - start.state_dict()[key]).norm()
        assert (near.state_dict()[key] - value).norm() <= (0.03 if key.startswith("large") else 1e-3) * moved, key


def test_the_state_of_the_other_optimizer_is_refused() -> None:
    for name, other in (("adamw", "adamw8bit"), ("adamw8bit", "adamw")):
        (toy, optimizer), (there, theirs) = trained(1, optimizer=name), trained(1, optimizer=other)
        state = optimizer_tensors(theirs, trainable(there))
        with pytest.raises(CheckpointError, match=r"must be that of training\.optimizer: step, "):
            restore_optimizer(optimizer, trainable(toy), state)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "has_bitsandbytes", lambda: False)
    with pytest.raises(MissingPackageError, match=r'adamw8bit: bitsandbytes .* Run: pip install .*\[quantized\]"'):
        build_optimizer(Toy(), TrainingConfig("out", optimizer="adamw8bit"))


def test_the_state_of_other_parameters_is_refused() -> None:
    toy, optimizer = trained(1)
    state = optimizer_tensors(optimizer, trainable(toy))
    with pytest.raises(CheckpointError, match="not of other"):
        restore_optimizer(optimizer, trainable(toy), {"other/step": torch.tensor(1.0)})
    with pytest.raises(CheckpointError, match=r"used.bias/exp_avg must be \(2,\), not \(3,\)"):
        restore_optimizer(optimizer, trainable(toy), {**state, "used.bias/exp_avg": torch.zeros(3)})
