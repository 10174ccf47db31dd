"""Export: the folder holds the tuned model, loads anywhere, and appears whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import AutoPeftModel, PeftModel
from safetensors.torch import load_file
from transformers import Qwen3VLForConditionalGeneration

from dcap.core.errors import CheckpointError, ConfigError, OutputError
from dcap.core.manifest import EXPORT_MARKER, check_digests, seal
from dcap.infer import export_folder
from dcap.infer.export_folder import (
    ExportDType,
    Exported,
    ExportOptions,
    export,
    loss_warning,
    survival_lines,
)
from dcap.infer.source import find_source
from dcap.model.config import AdapterConfig, ModelConfig
from dcap.model.load import load_exact, load_model
from dcap.model.lora import bare_model, load_adapter
from dcap.model.merge import Survival, merge_adapter
from dcap.model.patch_embedding import multiply_patches
from support.training_runs import files_of_at_most
from support.tuned import CPU, KINDS, PROFILE, logits_of, share_apart, write_half, write_tuned

Tuned = Callable[[str], Path]


@pytest.fixture
def options(tmp_path: Path, micro_folder: Path, tuned: Tuned) -> Callable[..., ExportOptions]:
    """Return a function that gives the options of an export of the micro model to ``out``."""

    def make(kind: str = "lora", **changes: Any) -> ExportOptions:
        given = {"adapter": tuned(kind), "model": str(micro_folder), "out": tmp_path / "out", **changes}
        return ExportOptions(**given)

    return make


Options = Callable[..., ExportOptions]
Made = Callable[[str, ExportDType], Exported]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, micro_folder: Path, tuned: Tuned) -> Made:
    """Return a function that gives the merged export of a kind of adapter; it is made once and only read."""
    folder, known = tmp_path_factory.mktemp("made"), dict[tuple[str, ExportDType], Exported]()

    def find(kind: str, dtype: ExportDType) -> Exported:
        if (kind, dtype) not in known:
            given = ExportOptions(str(micro_folder), tuned(kind), folder / f"{kind}-{dtype}", dtype=dtype)
            known[kind, dtype] = export(given)
        return known[kind, dtype]

    return find


def load_whole(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Load with plain transformers; every weight must have its place, and every place its weight."""
    model, report = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    assert not report["missing_keys"] | report["unexpected_keys"] | report["mismatched_keys"]
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_merge_in_float32_answers_like_base_and_adapter(
    made: Made, tuned_logits: Callable[[str], torch.Tensor], kind: str
) -> None:
    exported = made(kind, "float32")
    merged = load_whole(exported.out)
    assert share_apart(tuned_logits(kind), logits_of(merged)) < 1e-5
    assert merged.lm_head.weight is merged.get_input_embeddings().weight
    assert {each.tower for each in exported.survival} == {"llm", "vit", "aligner"}
    assert min(each.share for each in exported.survival) == 1.0
    assert loss_warning(exported.survival, "float32") is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_merge_in_bfloat16_is_the_merge_in_float32_cast_once(made: Made, kind: str) -> None:
    exact = load_file(made(kind, "float32").out / "model.safetensors")
    cast = load_file(made(kind, "bfloat16").out / "model.safetensors")
    assert set(cast) == set(exact)
    assert all(torch.equal(cast[name], exact[name].bfloat16()) for name in exact)
    load_whole(made(kind, "bfloat16").out, torch.bfloat16)


@pytest.fixture(scope="module")
def half_base(tmp_path_factory: pytest.TempPathFactory, micro_folder: Path) -> Path:
    return write_half(tmp_path_factory.mktemp("half") / "base", micro_folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_in_bfloat16_rounds_nothing_of_a_merge_in_float32(
    options: Options, tuned: Tuned, half_base: Path, kind: str
) -> None:
    """The oracle is a merge of the same values, stored in float32."""
    weights = load_file(export(options(kind, model=str(half_base), dtype="float32")).out / "model.safetensors")
    exact = load_exact(ModelConfig(str(half_base))).float()
    merged, _ = merge_adapter(load_adapter(exact, tuned(kind) / "adapter"), torch.float32)
    expected = merged.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in weights.items())
    prefix = "base_model.model."
    trained = {
        name.removeprefix(prefix): value
        for name, value in load_file(tuned(kind) / "adapter" / "adapter_model.safetensors").items()
        if "lora_" not in name
    }
    assert bool(trained) == (kind == "modules_to_save")
    assert all(torch.equal(weights[name], value) for name, value in trained.items())


def test_modules_trained_in_full_whose_update_is_rounded_away_are_said(half_base: Path, tmp_path: Path) -> None:
    final = write_tuned(tmp_path / "final", half_base, KINDS["modules_to_save"], scale=1e-6)
    made = export(ExportOptions(str(half_base), final, tmp_path / "out"))
    shares = {each.layer: each.share for each in made.survival if each.tower == "aligner"}
    assert shares["merger"] < 0.1
    assert loss_warning(made.survival, "bfloat16") is not None


def test_the_folder_has_all_that_a_runtime_needs(made: Made, micro_folder: Path) -> None:
    out = made("lora", "bfloat16").out
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (micro_folder / name).read_bytes()
    for name in ("preprocessor_config.json", "video_preprocessor_config.json", "generation_config.json"):
        assert (out / name).is_file()
    size = json.loads((out / "preprocessor_config.json").read_text())["size"]
    assert size == {"shortest_edge": PROFILE.answer.min_pixels, "longest_edge": PROFILE.answer.max_pixels}
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    # dcap itself asks the model as in training, and notices damage.
    source = find_source(str(out), None)
    assert (source.profile, source.has_profile) == (PROFILE, True)
    assert len({path.stat().st_mode for path in out.iterdir()}) == 1


def test_a_damaged_export_is_noticed(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made("lora", "bfloat16").out, tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"the bytes of model\.safetensors must .* delete .*export\.json"):
        find_source(str(tmp_path / "out"), None)


def test_the_marker_says_what_the_export_was_made_of(made: Made, tuned: Tuned, micro_folder: Path) -> None:
    exported = made("lora", "bfloat16")
    about = check_digests(exported.out, EXPORT_MARKER)
    assert about == json.loads(json.dumps(exported.about))
    adapter = find_source(str(micro_folder), tuned("lora")).saved
    assert adapter is not None
    assert about["adapter"]["sha256"] == adapter.digest()
    assert about["base_digest"] == about["adapter"]["base_digest"] == adapter.base_digest
    assert set(about["versions"]) == {"dcap", "torch", "transformers", "peft", "safetensors"}
    assert {(each["tower"], each["layer"]) for each in about["survival"]} >= {("llm", "layers.3"), ("vit", "blocks.0")}
    assert about["serve"] == f"vllm serve {exported.out}"


def test_the_recipe_quantises_the_layers_of_the_language_model_alone(made: Made) -> None:
    recipe = yaml.safe_load((made("lora", "bfloat16").out / "recipe.yaml").read_text())
    modifier = recipe["quant_stage"]["quant_modifiers"]["QuantizationModifier"]
    ignored = [pattern.removeprefix("re:") for pattern in modifier["ignore"]]
    linear = [
        name
        for name, module in load_whole(made("lora", "bfloat16").out).named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    quantised = {name for name in linear if not any(re.match(pattern, name) for pattern in ignored)}
    assert quantised == {name for name in linear if name.startswith("model.language_model.layers.")}
    assert quantised < set(linear)


def test_weights_in_several_files_load_too(options: Options, tuned_logits: Callable[[str], torch.Tensor]) -> None:
    out = export(options(dtype="float32", shard_size="2MB")).out
    assert len(list(out.glob("model-*.safetensors"))) > 1
    assert (out / "model.safetensors.index.json").is_file()
    assert share_apart(tuned_logits("lora"), logits_of(load_whole(out))) < 1e-5


def test_an_update_that_rounding_takes_away_is_said() -> None:
    survival = (Survival("vit", "blocks.0", 0.99), Survival("llm", "layers.0", 0.02), Survival("llm", "layers.1", 0.95))
    assert survival_lines(survival) == [
        "llm: at least 2.0% of the update survives the cast (layers.0) in 2 layers; 1 below 90%",
        "vit: at least 99.0% of the update survives the cast (blocks.0) in 1 layer",
    ]
    said = loss_warning(survival, "bfloat16")
    assert said is not None
    assert said.startswith(
        "only 2.0% of the update of llm layers.0 is left in bfloat16: the update is small beside the"
    )
    assert said.endswith("with --check, serve base and adapter unmerged (--format peft), or write --dtype float32")
    assert loss_warning(survival[::2], "bfloat16") is None


def test_another_base_is_refused_unless_it_is_meant(
    options: Options, tuned: Tuned, micro_folder: Path, tmp_path: Path
) -> None:
    """Only the record of the run is changed here; that other weights have another digest is tested with the digest."""
    final = tmp_path / "final"
    shutil.copytree(tuned("lora"), final)
    marker = json.loads((final / "final.json").read_text())
    (final / "final.json").write_text(json.dumps({"base_digest": "ab" * 32}))
    seal(final, "final.json")
    given = options(adapter=final)
    says = (
        rf"--model {micro_folder} must hold the weights that {final}/adapter was trained on, those of {micro_folder} "
        rf"with digest abababababab, not others with digest {marker['base_digest'][:12]}\. .*--accept-other-base"
    )
    with pytest.raises(ConfigError, match=says):
        export(given)
    assert not given.out.exists()
    made = export(options(adapter=final, accept_other_base=True, format="peft"))
    assert (made.about["base_digest"], made.about["adapter"]["base_digest"]) == (marker["base_digest"], "ab" * 32)


def test_nothing_is_written_over_unasked(options: Options) -> None:
    given = options()
    given.out.mkdir()
    (given.out / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"--out must be a new folder, and .* exists. Give another one"):
        export(given)
    with pytest.raises(ConfigError, match=r"--overwrite must replace an export, a folder with export\.json, and "):
        export(options(overwrite=True))
    assert (given.out / "mine.txt").read_text() == "mine"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The marker alone of an older export."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / EXPORT_MARKER).write_text("{}")
    seal(tmp_path / "out", EXPORT_MARKER)
    return tmp_path / "out"


def test_files_that_no_export_wrote_are_not_lost(options: Options, older: Path) -> None:
    (older / "val.jsonl").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds 1 file that the export did not write, such as val\.jsonl\. Move"):
        export(options(overwrite=True))
    assert (older / "val.jsonl").read_text() == "mine"
    (older / EXPORT_MARKER).write_text("{")
    with pytest.raises(ConfigError, match=r"--overwrite must replace a whole export: .* Delete it"):
        export(options(overwrite=True))


def test_the_current_folder_is_not_written_over(options: Options, older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(older)
    with pytest.raises(ConfigError, match=r"--out must not be the current folder or hold it, as \. does"):
        export(options(out=Path("."), overwrite=True))
    with pytest.raises(ConfigError, match=r"--out must be a new folder, and new/\.\. exists"):
        export(options(out=Path("new/..")))


def test_what_came_while_an_export_was_written_stays(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    given = options(format="peft")

    def another(*_: Any) -> None:
        given.out.mkdir()
        (given.out / "mine").touch()

    monkeypatch.setattr(export_folder, "_prove", another)
    with pytest.raises(ConfigError, match="--out must be a new folder"):
        export(given)
    assert [path.name for path in given.out.parent.rglob("*")] == ["out", "mine"]


def test_an_error_of_the_comparison_is_not_one_of_the_folder(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    def unplugged(*_: Any) -> None:
        raise OSError(5, "Input/output error", "photo.jpg")

    monkeypatch.setattr(export_folder, "_prove", unplugged)
    given = options(format="peft")
    with pytest.raises(OSError, match=r"photo\.jpg"):
        export(given)
    assert not given.out.exists()


def test_an_older_export_is_replaced_or_left_whole(options: Options, made: Made, tmp_path: Path) -> None:
    shutil.copytree(made("rslora", "float32").out, tmp_path / "out")
    with files_of_at_most(2_000_000), pytest.raises(OutputError, match=r"out: .*Make room, or"):
        export(options(overwrite=True))
    assert check_digests(tmp_path / "out", EXPORT_MARKER)["adapter"]["kind"] == "rslora"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    export(options(overwrite=True))
    assert check_digests(tmp_path / "out", EXPORT_MARKER)["adapter"]["kind"] == "lora"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_base_is_not_overwritten_by_its_own_export(made: Made, tuned: Tuned) -> None:
    base = made("lora", "float32").out
    given = ExportOptions(str(base), tuned("lora"), base, overwrite=True, accept_other_base=True)
    with pytest.raises(ConfigError, match=r"--out must not be the folder of --model, .*, which would be lost"):
        export(given)
    check_digests(base, EXPORT_MARKER)


def test_an_adapter_without_its_profile_is_refused(options: Options, tuned: Tuned, tmp_path: Path) -> None:
    shutil.copytree(tuned("lora") / "adapter", tmp_path / "alone")
    with pytest.raises(ConfigError, match=r"--adapter must have answer_profile\.json beside it, .*alone has none"):
        export(options(adapter=tmp_path / "alone"))
    profile = json.loads((tuned("lora") / "answer_profile.json").read_text())
    (tmp_path / "alone" / "answer_profile.json").write_text(json.dumps(profile | {"version": 99}))
    with pytest.raises(CheckpointError, match="version"):
        export(options(adapter=tmp_path / "alone"))


def test_a_base_without_settings_of_images_is_refused(options: Options, micro_folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(micro_folder, base, ignore=shutil.ignore_patterns("preprocessor_config.json"))
    with pytest.raises(ConfigError, match=r"--model must hold preprocessor_config\.json, without which .* Copy it"):
        export(options(model=str(base)))


@pytest.mark.parametrize("size", ["5", "0GB", "five GB", "5GB "])
def test_a_size_of_files_must_be_one(options: Options, size: str) -> None:
    with pytest.raises(ConfigError, match=r"--shard-size must be a size such as 5GB"):
        options(shard_size=size)


def test_a_full_disk_leaves_nothing(options: Options, tmp_path: Path) -> None:
    with files_of_at_most(1_000), pytest.raises(OutputError, match=r"out: .*Make room, or"):
        export(options(format="peft"))
    assert list(tmp_path.iterdir()) == []


def killed_at(given: ExportOptions, event: int) -> bool:
    """Export in a copy of this process that is killed at its n-th look at a file of the unfinished folder.

    Returns:
        Whether the event came.
    """
    child = os.fork()
    if child == 0:
        left = event

        def watch(name: str, args: tuple[Any, ...]) -> None:
            nonlocal left
            if name in ("open", "os.rename", "os.chmod") and f".writing-{given.out.name}" in str(args[0]):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        code = 1
        try:
            export(given)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


KILLS = [pytest.param(n, marks=[] if n in (2, 20) else pytest.mark.slow) for n in (1, 2, 5, 8, 11, 14, 17, 20, 26, 32)]


@pytest.mark.parametrize("event", KILLS)
def test_a_kill_leaves_no_half_folder(
    options: Options, tmp_path: Path, micro_folder: Path, monkeypatch: pytest.MonkeyPatch, event: int
) -> None:
    loaded = load_exact(ModelConfig(str(micro_folder)))
    monkeypatch.setattr(export_folder, "load_exact", lambda _: loaded)
    given = options()
    assert killed_at(given, event)
    assert [path.name for path in tmp_path.iterdir()] == [".writing-out"]
    export(given)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    check_digests(given.out, EXPORT_MARKER)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_an_adapter_alone_loads_in_plain_peft(
    options: Options, micro_folder: Path, tuned_logits: Callable[[str], torch.Tensor], dtype: ExportDType | None
) -> None:
    made = export(options("rslora", format="peft", dtype=dtype))
    weights = load_file(made.out / "adapter_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16 if dtype == "bfloat16" else torch.float32}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of peft's own making; a missing key would be a UserWarning
        if dtype is None:
            adapted = AutoPeftModel.from_pretrained(str(made.out), dtype=torch.float32).eval()
            multiply_patches(bare_model(adapted))  # otherwise the convolution rounds otherwise
        else:
            bare = load_model(ModelConfig(str(micro_folder), dtype="float32"), CPU, for_generation=True)
            adapted = PeftModel.from_pretrained(bare, str(made.out)).eval()
    assert share_apart(tuned_logits("rslora"), logits_of(adapted)) < (2e-2 if dtype == "bfloat16" else 1e-6)
    # dcap reads it with its profile, and still knows the base.
    source = find_source(str(micro_folder), made.out)
    assert (source.profile, source.has_profile) == (PROFILE, True)
    assert source.base_digest == made.about["adapter"]["base_digest"]


@pytest.mark.parametrize(
    ("kind", "says"), [("dora", "has type dora"), ("modules_to_save", r"has modules_to_save \(model\.")]
)
def test_an_adapter_that_no_server_takes_is_to_be_merged(options: Options, kind: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"as servers take no other, and .* {says}.*Merge instead: --format merged"):
        export(options(kind, format="peft"))


def test_an_adapter_that_does_not_fit_is_named(options: Options, tuned: Tuned, tmp_path: Path) -> None:
    shutil.copytree(tuned("lora"), tmp_path / "final")
    (tmp_path / "final" / "final.json").unlink()
    path = tmp_path / "final" / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="must fit the model"):
        export(options(adapter=tmp_path / "final", format="peft"))


def test_a_model_tuned_in_full_is_not_exported(options: Options, tmp_path: Path) -> None:
    (tmp_path / "final" / "model").mkdir(parents=True)
    (tmp_path / "final" / "model" / "config.json").write_text("{}")
    with pytest.raises(
        ConfigError, match=r"--adapter must be a folder with adapter_config\.json.* holds a whole model"
    ):
        export(options(adapter=tmp_path / "final"))


def test_ranks_and_towers_make_the_command_of_the_server(micro_folder: Path, tmp_path: Path) -> None:
    final = write_tuned(tmp_path / "final", micro_folder, AdapterConfig(rank=17))
    base = shutil.copytree(micro_folder, tmp_path / "base model")
    made = export(ExportOptions(str(base), final, tmp_path / "out", format="peft"))
    assert made.about["serve"] == (
        f"vllm serve '{base}' --enable-lora --max-lora-rank 32 --enable-tower-connector-lora "
        f"--lora-modules tuned={tmp_path / 'out'}"
    )


def test_no_server_finds_a_built_in_model(options: Options) -> None:
    assert export(options(model="builtin:micro", format="peft")).about["serve"] is None
