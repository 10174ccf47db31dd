from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dcap.core.errors import CheckpointError
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


def test_lora_plus_gives_the_rates_of_peft(make_learner: Callable[..., Learner]) -> None:
    from peft.optimizers import create_loraplus_optimizer

    learner = make_learner(training={"learning_rate": 1e-3, "lora_plus_ratio": 16.0})
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
        self.unused = torch.nn.Parameter(torch.zeros(2, 2))


def trained(steps: int) -> tuple[Toy, torch.optim.AdamW]:
    toy = Toy()
    optimizer = build_optimizer(toy, TrainingConfig("out", learning_rate=0.1))
    run(toy, optimizer, range(steps))
    return toy, optimizer


def run(toy: Toy, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        toy.used(torch.full((1, 3), float(step + 1))).square().sum().backward()
        optimizer.step()


def test_a_restored_optimizer_goes_on_to_the_same_bits() -> None:
    expected, _ = trained(5)
    toy, optimizer = trained(2)
    state = optimizer_tensors(optimizer, trainable(toy))
    assert set(state) == {f"used.{p}/{e}" for p in ("weight", "bias") for e in ("step", "exp_avg", "exp_avg_sq")}
    again = Toy()
    again.load_state_dict(toy.state_dict())
    fresh = build_optimizer(again, TrainingConfig("out", learning_rate=0.1))
    restore_optimizer(fresh, trainable(again), state)
    run(again, fresh, range(2, 5))
    assert torch.equal(again.used.weight, expected.used.weight)
    assert torch.equal(again.used.bias, expected.used.bias)


def test_the_state_of_other_parameters_is_refused() -> None:
    toy, optimizer = trained(1)
    state = optimizer_tensors(optimizer, trainable(toy))
    with pytest.raises(CheckpointError, match="not of other"):
        restore_optimizer(optimizer, trainable(toy), {"other/step": torch.tensor(1.0)})
    with pytest.raises(CheckpointError, match=r"used.bias/exp_avg must be \(2,\), not \(3,\)"):
        restore_optimizer(optimizer, trainable(toy), {**state, "used.bias/exp_avg": torch.zeros(3)})
