"""Ranks that share the weights out do what one process does, and leave the files that it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from dcap.core.config import build, dump_yaml, merge, read_yaml
from dcap.core.errors import ConfigError
from dcap.model.config import ModelConfig
from dcap.model.load import load_model
from dcap.model.saved_adapter import find_adapter
from dcap.train import parallel
from dcap.train.config import RunConfig
from dcap.train.loop import train
from dcap.train.parallel import build_accelerator
from dcap.train.setup import prepare
from support.forks import Forks
from support.sharded_runs import CASES, go_on, last_checkpoint, make_steps, small_model, tensors_of

pytestmark = pytest.mark.timeout(400)  # two launches of two processes take minutes on a loaded machine
RunMaker = Callable[..., RunConfig]
SCRIPT = Path(__file__).with_name("two_ranks_sharded.py")

# With the usual epsilon AdamW turns rounding noise of a vanishing gradient into a step of full size.
SAME: dict[str, Any] = {
    "model": {"adapter": {"dropout": 0.0, "rank": 3}},
    "training": {"adam_eps": 1e-3, "warmup_ratio": 0.0, "lr_schedule": "constant", "save_steps": 100},
}
HOPS: dict[str, dict[str, Any]] = {
    "lora": {"model": {"adapter": {"init": "pissa"}}},
    "full": {"model": {"freeze_vit": False, "adapter": {"type": "full"}}},
}


def launch(forks: Forks, out: Path, *wanted: str) -> None:
    """Run the script on two processes."""
    done = forks.run_ranks(SCRIPT, str(out), *wanted, folder=out)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Filled by the first test: one launch serves all."""
    return {}


@pytest.fixture
def found(results: dict[str, Any], run_config: RunMaker, forks: Forks, tmp_path: Path) -> dict[str, Any]:
    if results:
        return results
    model = {"model": {"name_or_path": str(small_model(tmp_path / "small"))}}

    def write(name: str, changes: dict[str, Any]) -> RunConfig:
        config = run_config(**merge(merge(SAME, model), changes))
        (tmp_path / f"{name}.yaml").write_text(dump_yaml(config))
        return config

    for name, changes in CASES.items():
        write(name, merge(changes, {"training": {"parallel": name.split()[0]}}))
        one = {"parallel": "ddp", "fsdp_reshard": True}
        results[name] = run_config(**merge(merge(merge(SAME, model), changes), {"training": one}))
    for name, changes in HOPS.items():
        write(name, changes)
    launch(forks, tmp_path, "cases", "lora:1:fsdp", "full:1:fsdp")
    results["out"] = tmp_path
    results["ranks"] = [json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in (0, 1)]
    return results


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_equal_one_process(found: dict[str, Any], case: str) -> None:
    one = make_steps(found[case], [0, 1], found["out"] / f"{case} of one.safetensors")
    for rank in found["ranks"]:
        assert rank[case]["losses"] == pytest.approx(one.losses, rel=2e-6)
        assert rank[case]["norms"] == pytest.approx(one.norms, rel=2e-5)
        assert rank[case]["evaluated"] == pytest.approx(one.evaluated, rel=2e-6)
    weights = load_weights_of(found["out"], case)
    expected = load_weights_of(found["out"], f"{case} of one")
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-6, atol=1e-6, msg=f"{case}: {name}")


def load_weights_of(out: Path, name: str) -> dict[str, torch.Tensor]:
    files = [*out.glob(f"{name}.safetensors"), *out.glob(f"{name}-0*.safetensors")]
    return {key: value for file in files for key, value in load_file(file).items()}


@pytest.mark.parametrize("case", CASES)
def test_each_rank_holds_its_part_alone(found: dict[str, Any], case: str) -> None:
    held = [rank[case]["held"] for rank in found["ranks"]]
    if case.startswith("ddp"):
        assert held == [1.0, 1.0]
    else:
        assert sum(held) == pytest.approx(1.0)
        assert max(held) < 0.6


def test_a_run_goes_on_with_any_ranks_from_every_bit_of_the_others(found: dict[str, Any], forks: Forks) -> None:
    """fsdp on two ranks, one process, fsdp on two, ddp on two: a step each, and each reads what the last one wrote."""
    out = found["out"]
    for name in HOPS:
        with ExitStack() as closing:
            go_on(out, name, 2, "ddp", closing)
    launch(forks, out, "lora:3:fsdp", "full:3:fsdp", "lora:4:ddp", "full:4:ddp")
    for name in HOPS:
        tree = merge(read_yaml(out / f"{name}.yaml"), {"training": {"max_steps": 4, "output_dir": str(out / name)}})
        train(build(RunConfig, tree))
        for number in (1, 2, 3):
            left = tensors_of(last_checkpoint(out, name, number))
            (copy,) = (out / f"{name}-{number + 1}" / "copy" / "checkpoints").iterdir()
            assert left.keys() == tensors_of(copy).keys()
            assert all(torch.equal(value, left[key]) for key, value in tensors_of(copy).items())
        one, last = tensors_of(out / name / "checkpoints" / "step-000004"), tensors_of(last_checkpoint(out, name, 4))
        assert one.keys() == last.keys()
        for key, value in one.items():
            torch.testing.assert_close(last[key], value, rtol=1e-5, atol=1e-6, msg=f"{name}: {key}")


def test_the_model_of_two_ranks_is_an_ordinary_folder(found: dict[str, Any]) -> None:
    adapter, folder = (found["out"] / f"{name}-1" / "run" / "final" for name in HOPS)
    assert len(list((folder / "model").glob("model-0*.safetensors"))) > 2, "it was gathered in pieces"
    loaded = load_model(ModelConfig(str(folder), dtype="float32"), torch.device("cpu"))
    expected = tensors_of(last_checkpoint(found["out"], "full", 1))
    assert all(torch.equal(value, expected[f"model:{name}"]) for name, value in loaded.named_parameters())
    assert find_adapter(adapter).base == found["fsdp lora"].model.name_or_path


ENGINE = r"accelerate must be configured for one process or for plain data parallelism, not {}\. .* and set {}"
FSDP, KEPT = r"training\.parallel=fsdp", r"training\.parallel=fsdp training\.fsdp_reshard=false"


@pytest.mark.parametrize(
    ("asked", "engine", "instead"),
    [
        ({"FSDP_SHARDING_STRATEGY": "FULL_SHARD"}, "FSDP", f"{FSDP}$"),
        ({"FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true"}, "FSDP", f"{FSDP}$"),
        ({"FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "false"}, "FSDP", f"{KEPT}$"),
        ({"FSDP_SHARDING_STRATEGY": "SHARD_GRAD_OP"}, "FSDP", f"{KEPT}$"),
        ({"FSDP_SHARDING_STRATEGY": "NO_SHARD"}, "FSDP", r"training\.parallel=ddp$"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, "FSDP", rf"{FSDP}\. .*there is no offloading$"),
        ({"ACCELERATE_DEEPSPEED_ZERO_STAGE": "0"}, "DeepSpeed", r"training\.parallel=ddp$"),
        ({"ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}, "DeepSpeed", f"{KEPT}$"),
        ({"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, "DeepSpeed", f"{FSDP}$"),
        (
            {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3", "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "cpu"},
            "DeepSpeed",
            rf"{FSDP}\. .*there is no offloading$",
        ),
        (
            {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "2", "ACCELERATE_DEEPSPEED_CONFIG_FILE": "zero3.json"},
            "DeepSpeed",
            f"{FSDP} for ZeRO-3, {KEPT} for ZeRO-1 and ZeRO-2$",
        ),
    ],
)
def test_an_engine_of_accelerate_is_refused_by_the_setting_that_takes_its_place(
    run_config: RunMaker, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], engine: str, instead: str
) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{engine.upper()}", "true")
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as closing, pytest.raises(ConfigError, match=ENGINE.format(engine, instead)):
        prepare(run_config(model={"name_or_path": "/nowhere"}), closing)


def test_other_engines_are_refused_too(run_config: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(distributed_type=DistributedType.MEGATRON_LM, mixed_precision="no", num_processes=1)
    monkeypatch.setattr(parallel, "Accelerator", lambda **_: fake)
    with pytest.raises(ConfigError, match=r"plain data parallelism, not MEGATRON_LM\. Run accelerate config again"):
        build_accelerator(run_config())


def test_one_process_has_nobody_to_share_its_weights_with(run_config: RunMaker) -> None:
    config = run_config(model={"name_or_path": "/nowhere"}, training={"parallel": "fsdp"})
    with (
        ExitStack() as closing,
        pytest.raises(ConfigError, match=r"parallel must be ddp for one process.*torchrun or accelerate"),
    ):
        prepare(config, closing)


def test_no_rank_answers_without_the_whole_model(run_config: RunMaker, photo_file: Path) -> None:
    training = {"parallel": "fsdp", "eval_generate": {}}
    with pytest.raises(ConfigError, match=r"training.eval_generate must be null with training.parallel fsdp, as no"):
        run_config(data={"val": str(photo_file)}, training=training)


def test_precision_is_decided_in_one_place(run_config: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(distributed_type=DistributedType.NO, mixed_precision="bf16")
    monkeypatch.setattr(parallel, "Accelerator", lambda **_: fake)
    with pytest.raises(ConfigError, match=r"mixed_precision must be no, not bf16: model.dtype decides"):
        build_accelerator(run_config())


@pytest.mark.parametrize(
    ("processes", "seen", "refused"), [("2", 1, True), ("2", 2, False), ("1", 1, False), ("", 1, False)]
)
def test_processes_of_a_launch_that_do_not_see_each_other_are_refused(
    run_config: RunMaker, monkeypatch: pytest.MonkeyPatch, processes: str, seen: int, refused: bool
) -> None:
    fake = SimpleNamespace(
        distributed_type=DistributedType.NO, mixed_precision="no", num_processes=seen, device=torch.device("cpu")
    )
    monkeypatch.setattr(parallel, "Accelerator", lambda **_: fake)
    monkeypatch.setenv("WORLD_SIZE", processes)
    if refused:
        with pytest.raises(ConfigError, match=r"the 2 processes of a launch \(WORLD_SIZE\) must work together, but"):
            build_accelerator(run_config())
    else:
        assert build_accelerator(run_config()) is fake


@pytest.mark.parametrize(("frozen", "expected"), [(True, False), (False, True)])
def test_unused_parameters_are_looked_for_only_where_there_can_be_any(
    run_config: RunMaker, monkeypatch: pytest.MonkeyPatch, frozen: bool, expected: bool
) -> None:
    seen: list[Any] = []

    def fake(cpu: bool, kwargs_handlers: list[Any]) -> Any:
        seen.extend(kwargs_handlers)
        return SimpleNamespace(distributed_type=DistributedType.NO, mixed_precision="no")

    monkeypatch.setattr(parallel, "Accelerator", fake)
    build_accelerator(run_config(model={"freeze_vit": True, "freeze_aligner": frozen}))
    assert seen[0].find_unused_parameters is expected
