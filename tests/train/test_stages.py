"""A second stage that begins with the adapter of the first one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dcap.core.errors import CheckpointError
from dcap.core.manifest import seal
from dcap.infer.export_folder import ExportOptions, export
from dcap.infer.source import find_source
from dcap.model.config import ModelConfig
from dcap.model.fingerprint import weights_digest
from dcap.model.load import load_exact
from dcap.train.config import RunConfig
from dcap.train.loop import train
from support.training_runs import at_step, final_weights, metrics

Config = Callable[..., RunConfig]


def stage(run_config: Config, folder: Path, model: dict[str, Any], **training: Any) -> RunConfig:
    """A stage of two steps in `folder`."""
    given = {"output_dir": str(folder), "max_steps": 2, "save_steps": 1, "best_metric": None, **training}
    return run_config(model=model, training=given)


class StoppedHereError(Exception):
    pass


def stop() -> None:
    raise StoppedHereError


def test_a_second_stage_goes_on_and_resumes_to_the_same_bytes(
    run_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stage(run_config, tmp_path / "one", {})
    train(first)
    final = tmp_path / "one" / "final"
    whole = stage(run_config, tmp_path / "two", {"init_adapter": str(final)})
    train(whole)
    assert metrics(whole)[0]["loss"] < metrics(first)[0]["loss"]
    marker = json.loads((tmp_path / "two" / "final" / "final.json").read_text())
    assert marker["init_adapter"] == {"path": str(final), "merge": False}

    torn = stage(run_config, tmp_path / "three", {"init_adapter": str(final)})
    with monkeypatch.context() as patch:
        at_step(patch, 2, stop)
        with pytest.raises(StoppedHereError):
            train(torn)
    train(torn)
    assert all(torch.equal(final_weights(torn)[name], value) for name, value in final_weights(whole).items())

    _change(final)
    says = r"resumed with the model\.init_adapter it began with, but .*adapter_model\.safetensors has other bytes"
    with pytest.raises(CheckpointError, match=says):
        train(stage(run_config, tmp_path / "three", {"init_adapter": str(final)}, max_steps=3))


def _change(final: Path) -> None:
    """Write other weights as the run would have written them."""
    path = final / "adapter" / "adapter_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    marker = json.loads((final / "final.json").read_text())
    kept = {name: marker[name] for name in ("base", "base_digest", "step")}
    (final / "final.json").write_text(json.dumps(kept))
    seal(final, "final.json")


def test_a_second_stage_on_the_merged_first_one(run_config: Config, tmp_path: Path, micro_folder: Path) -> None:
    train(stage(run_config, tmp_path / "one", {}, max_steps=1))
    final = tmp_path / "one" / "final"
    second = stage(
        run_config, tmp_path / "two", {"init_adapter": {"path": str(final), "merge": True}, "adapter": {"rank": 3}},
        max_steps=1,
    )  # fmt: skip
    train(second)
    merged = export(ExportOptions(str(micro_folder), final, tmp_path / "merged", dtype="float32"))
    source = find_source(str(merged.out), tmp_path / "two" / "final")
    # What the first stage exports is the base of the second one: prediction and export take it, and no other.
    assert source.base_digest == weights_digest(load_exact(ModelConfig(str(merged.out))))
    assert source.saved is not None
    assert source.saved.base == f"builtin:micro + {final.resolve()}"
