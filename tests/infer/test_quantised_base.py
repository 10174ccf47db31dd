"""An adapter of a base in 4 bits: what it answers on, and what becomes of it in an export."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit

from dcap.cli.__main__ import main
from dcap.core.errors import CheckpointError, ConfigError, MissingPackageError
from dcap.core.manifest import FINAL_MARKER, seal
from dcap.infer import export_folder
from dcap.infer.export_folder import Exported, ExportOptions, export
from dcap.infer.export_proof import ProofOptions
from dcap.infer.hf_engine import HfEngine
from dcap.infer.loading import EngineOptions
from dcap.infer.run import PredictOptions, predict
from dcap.infer.source import ModelSource, find_source
from dcap.model import quantization
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.decoding import Decoding
from dcap.model.load import load_model
from dcap.model.lora import load_adapter
from support.tuned import CPU, logits_of, share_apart, write_tuned


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory, micro_folder: Path) -> Path:
    """The ``final/`` of a run on the micro model in 4 bits."""
    place = tmp_path_factory.mktemp("nf4") / "final"
    return write_tuned(place, micro_folder, AdapterConfig(rank=4), quantization="nf4")


def loaded(source: ModelSource) -> Any:
    return HfEngine.load(source, device=CPU, dtype="float32").generator.model


def in_4_bits(model: Any) -> bool:
    return any(isinstance(module, Linear4bit) for module in model.modules())


def by_hand(base: Path, final: Path, **changes: Any) -> torch.Tensor:
    """Logits of base and adapter, loaded without an engine."""
    bare = load_model(ModelConfig(str(base), dtype="float32", **changes), CPU, for_generation=True)
    return logits_of(load_adapter(bare, final / "adapter").eval())


def test_an_adapter_answers_on_the_base_that_it_was_trained_on(final: Path, micro_folder: Path) -> None:
    model = loaded(find_source(str(micro_folder), final))
    assert in_4_bits(model)
    assert torch.equal(logits_of(model), by_hand(micro_folder, final, quantization="nf4"))


def test_or_on_the_base_as_it_is(final: Path, micro_folder: Path) -> None:
    model = loaded(find_source(str(micro_folder), final, quantization="none"))
    assert not in_4_bits(model)
    assert torch.equal(logits_of(model), by_hand(micro_folder, final))


def test_any_model_answers_in_4_bits_where_that_is_asked_for(micro_folder: Path) -> None:
    assert in_4_bits(loaded(find_source(str(micro_folder), None, quantization="nf4")))
    assert not in_4_bits(loaded(find_source(str(micro_folder), None)))


def test_a_server_has_its_own_weights(final: Path, micro_folder: Path) -> None:
    assert find_source(str(micro_folder), final, needs_weights=False).quantization == "none"


def test_the_way_out_without_bitsandbytes_is_named(
    final: Path, micro_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "has_bitsandbytes", lambda: False)
    message = r'Run: pip install .*\[quantized\]"\. Or answer with the weights as they are, by --quantization none'
    with pytest.raises(MissingPackageError, match=message):
        loaded(find_source(str(micro_folder), final))
    loaded(find_source(str(micro_folder), final, quantization="none"))


def test_bits_of_a_later_version_are_refused(final: Path, micro_folder: Path) -> None:
    saved = find_source(str(micro_folder), final).saved
    assert saved is not None
    other = final.parent / "later"
    write_tuned(other, micro_folder, AdapterConfig(rank=4))
    mark = json.loads((other / FINAL_MARKER).read_text())
    mark = {name: mark[name] for name in ("base", "base_digest", "step")} | {"quantization": "nf2"}
    (other / FINAL_MARKER).write_text(json.dumps(mark))
    seal(other, FINAL_MARKER)
    with pytest.raises(ConfigError, match=r"model\.quantization none or nf4, not nf2\. Use the version of dcap"):
        find_source(str(micro_folder), other)


def test_predictions_on_one_base_are_not_continued_on_the_other(
    final: Path, micro_folder: Path, photos: Path, tmp_path: Path
) -> None:
    engine = EngineOptions(device="cpu")
    decoding = Decoding(max_new_tokens=4)
    options = PredictOptions(
        str(micro_folder), (photos,), tmp_path / "pred.jsonl", adapter=final, engine=engine, decoding=decoding, limit=1
    )
    assert predict(options).written == 1
    with pytest.raises(CheckpointError, match="quantization"):
        predict(replace(options, engine=replace(engine, quantization="none"), limit=2))
    assert predict(replace(options, engine=replace(engine, quantization="nf4"), limit=2)).kept == 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, final: Path, micro_folder: Path) -> Callable[..., Exported]:
    """Return a function that exports the adapter."""

    def run(out: str, **changes: Any) -> Exported:
        place = tmp_path_factory.mktemp("made") / out
        return export(ExportOptions(str(micro_folder), final, place, dtype="float32", **changes))

    return run


def test_an_export_goes_onto_the_base_as_it_is_and_tells_how_far_it_is_from_4_bits(
    made: Callable[..., Exported], final: Path, micro_folder: Path, photos: Path
) -> None:
    exported = made("merged", proof=ProofOptions((photos,), 2, max_new_tokens=6, device="cpu"))
    model = loaded(find_source(str(exported.out), None))
    assert not in_4_bits(model)
    plain, trained = by_hand(micro_folder, final), by_hand(micro_folder, final, quantization="nf4")
    assert share_apart(plain, logits_of(model)) < 1e-5
    assert share_apart(trained, logits_of(model)) > 1e-3
    assert exported.proof is not None
    assert exported.from_quantised is not None
    assert exported.proof.failures(1e-6) == []
    assert exported.from_quantised.max_logit_difference > 100 * exported.proof.max_logit_difference
    about = json.loads((exported.out / "export.json").read_text())
    assert about["adapter"]["quantization"] == "nf4"
    assert about["from_quantised"]["mean_kl"] == exported.from_quantised.mean_kl > about["proof"]["mean_kl"]


def test_an_exported_adapter_answers_on_the_base_as_it_is(made: Callable[..., Exported], micro_folder: Path) -> None:
    exported = made("alone", format="peft")
    assert find_source(str(micro_folder), exported.out).quantization == "none"


def test_an_export_needs_no_bitsandbytes(
    made: Callable[..., Exported], photos: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    monkeypatch.setattr(export_folder, "has_bitsandbytes", lambda: False)
    monkeypatch.setattr(quantization, "has_bitsandbytes", lambda: False)
    with caplog.at_level(logging.INFO):
        exported = made("without", proof=ProofOptions((photos,), 1, max_new_tokens=2, device="cpu"))
    assert exported.from_quantised is None
    assert "not compared with the model in 4 bits that was trained, which needs bitsandbytes" in caplog.text


def test_the_command_says_that_answers_differ(
    final: Path, micro_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--model", str(micro_folder), "--adapter", str(final), "--out", str(tmp_path / "out")]
    words += ["--dtype", "float32", "--data", str(photos), "--check", "1", "--max-new-tokens", "2", "--device", "cpu"]
    assert main(words) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "the adapter was trained on a base in 4 bits (nf4)" in said
    assert "beside the model in 4 bits that was trained, where no limit holds: " in said
