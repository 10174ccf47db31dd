"""A tuned model as a folder that any runtime loads: the adapter merged into its base, or the adapter alone.

::

    OUT/                       appears whole or not at all
        config.json, model*.safetensors, generation_config.json     merged; or
        adapter_config.json, adapter_model.safetensors              peft
        tokenizer.json, preprocessor_config.json, chat_template.jinja, ...
        recipe.yaml            merged: how llm-compressor quantises it
        answer_profile.json    how the model is asked and its answers are read
        export.json            what it was made of, what survived the cast, the figures of the check, digests of files
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError

import dcap
from dcap.answers.profile import save_profile
from dcap.core.errors import CheckpointError, ConfigError, OutputError
from dcap.core.files import folder_written_whole, give_mode
from dcap.core.log import get_logger
from dcap.core.manifest import EXPORT_MARKER, seal, unlisted
from dcap.core.words import counted, printable
from dcap.data.encode import Encoder, load_tokenizer
from dcap.demo.models import base_name
from dcap.infer.export_proof import Proof, ProofOptions, prove
from dcap.infer.server_limits import check_servable, serve_command
from dcap.infer.source import ModelSource, find_source, tuned_source
from dcap.model.config import ModelConfig
from dcap.model.fingerprint import check_base, weights_digest
from dcap.model.load import load_exact
from dcap.model.lora import load_adapter
from dcap.model.merge import Survival, merge_adapter
from dcap.model.quantization import has_bitsandbytes
from dcap.model.saved_adapter import SETTINGS, WEIGHTS, SavedAdapter
from dcap.model.saved_model import PREPROCESSOR, PROCESSOR, BaseFiles, save_model
from dcap.model.towers import TOWERS

log = get_logger(__name__)

ExportFormat = Literal["merged", "peft"]
ExportDType = Literal["bfloat16", "float32"]

MERGED_DTYPE: ExportDType = "bfloat16"
"""Precision of merged weights, where none is asked for."""
LEAST_SHARE = 0.9
"""Where less of a layer's update survives the cast, a warning says so."""
RECIPE = "recipe.yaml"
RECIPE_TEXT = """\
# A recipe of llm-compressor: 8-bit floats for the linear layers of the language model, without data.
# dcap guide export says how to use it, and how to compare the result with base and adapter.
quant_stage:
  quant_modifiers:
    QuantizationModifier:
      targets: [Linear]
      scheme: FP8_DYNAMIC
      ignore: ["re:.*lm_head", "re:.*visual.*"]
"""
PACKAGES = ("torch", "transformers", "peft", "safetensors")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """One run of ``dcap export``."""

    model: str
    """Built-in model, hub id or folder of the base model."""
    adapter: Path
    """Folder of the adapter, or the one that ``dcap train`` wrote."""
    out: Path
    """Folder to write."""
    format: ExportFormat = "merged"
    """The adapter merged into its base, or the adapter alone in PEFT's format."""
    dtype: ExportDType | None = None
    """Precision of the weights. `None`: bfloat16 merged, and an adapter as it was trained."""
    shard_size: str = "5GB"
    """Most bytes of one file of weights."""
    revision: str | None = None
    """Hub revision of the base. `None`: the newest."""
    accept_other_base: bool = False
    """Go on if the adapter was trained on other weights than those of `model`."""
    overwrite: bool = False
    """Replace an older export in `out`."""
    proof: ProofOptions | None = None
    """Compare the export with base and adapter on some records. `None`: it is not compared."""

    def __post_init__(self) -> None:
        if re.fullmatch(r"[1-9]\d*[MG]B", self.shard_size) is None:
            raise ConfigError(f"--shard-size must be a size such as 5GB or 500MB, not {printable(self.shard_size)}")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made."""

    out: Path
    about: Mapping[str, Any]
    """The content of ``export.json`` but for the digests of files."""
    survival: tuple[Survival, ...] = ()
    """What of the update of each layer survived the cast; empty for an adapter alone."""
    proof: Proof | None = None
    """How far the export is from base and adapter, where they were compared."""
    from_quantised: Proof | None = None
    """How far it is from the quantised model that was trained, where there was one and they were compared."""


def export(options: ExportOptions) -> Exported:
    """Write a tuned model as a folder that any runtime loads.

    Raises:
        ConfigError: The model, the adapter or an option cannot work, or the adapter was trained on other weights.
        CheckpointError: The answer profile is torn or of another version, or a file that a run wrote is damaged.
        RecordError: A record or image to compare on is bad.
        OutputError: The folder cannot be written; nothing of it is left, and an older one is as it was.
    """
    trained, adapter = tuned_source(options.model, options.adapter)
    source = trained.not_quantised()
    if options.format == "peft":
        check_servable(adapter)
    _check_out(options, source)
    if options.proof is not None:
        # Check the options before a model is loaded.
        options.proof.records()
        options.proof.asked(source.profile)
    made = _prepare(options, source, adapter)
    about, survival = _about(options, adapter, made), made.survival
    with folder_written_whole(_place(options)) as folder:
        with _saving(options.out):
            if made.dtype is None:
                _copy_adapter(folder, adapter, options.dtype)
            else:
                save_model(made.model, folder, made.base, made.encoder, dtype=made.dtype, shard_size=options.shard_size)
                (folder / RECIPE).write_text(RECIPE_TEXT, "utf-8")
            save_profile(folder, source.profile)
        del made  # the comparison needs the memory
        proof = _prove(folder, options, source)
        about["proof"] = None if proof is None else asdict(proof)
        apart = _prove_from_quantised(folder, options, trained)
        if apart is not None:
            about["from_quantised"] = asdict(apart)
        with _saving(options.out):
            (folder / EXPORT_MARKER).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", "utf-8")
            give_mode(folder, (folder / EXPORT_MARKER).stat().st_mode)
            seal(folder, EXPORT_MARKER)
        _check_out(options, source)  # others had minutes to put something there
    return Exported(options.out, about, survival, proof, apart)


@dataclass(frozen=True, eq=False, slots=True)
class _Made:
    """What an export consists of, before it is written."""

    model: Any
    """The merged model; or base and adapter, which fit each other."""
    dtype: torch.dtype | None
    """Precision of the merged model. `None`: it is not merged."""
    survival: tuple[Survival, ...]
    base: BaseFiles
    base_digest: str
    encoder: Encoder


def _prepare(options: ExportOptions, source: ModelSource, adapter: SavedAdapter) -> _Made:
    base = _base_files(source, options.revision)
    encoder = Encoder(load_tokenizer(base.source, options.revision))
    model, digest = _load(options, adapter)
    if options.format == "peft":
        return _Made(model, None, (), base, digest, encoder)
    dtype = getattr(torch, options.dtype or MERGED_DTYPE)
    log.info("merging %s into %s, in %s", adapter.folder, options.model, options.dtype or MERGED_DTYPE)
    model, survival = merge_adapter(model, dtype)
    return _Made(model, dtype, survival, base, digest, encoder)


def _prove(folder: Path, options: ExportOptions, source: ModelSource) -> Proof | None:
    if options.proof is None:
        return None
    trusted = source.of_any_base() if options.accept_other_base else source
    model, adapter = (options.model, folder) if options.format == "peft" else (str(folder), None)
    return prove(
        trusted, find_source(model, adapter, is_asked=False), options.proof, options.revision, options.revision
    )


def _prove_from_quantised(folder: Path, options: ExportOptions, trained: ModelSource) -> Proof | None:
    """Compare an export with the quantised model that was trained. `None`: there was none, or it cannot be loaded."""
    if options.proof is None or trained.quantization == "none":
        return None
    if not has_bitsandbytes():
        log.info("it is not compared with the model in 4 bits that was trained, which needs bitsandbytes")
        return None
    return _prove(folder, options, trained)


def _base_files(source: ModelSource, revision: str | None) -> BaseFiles:
    base = BaseFiles(source.model, revision, source.profile.answer)
    if base.find(PREPROCESSOR) is None and base.find(PROCESSOR) is None:
        raise ConfigError(
            f"--model must hold {PREPROCESSOR}, without which no server shows the model an image, and {base.source} "
            "does not. Copy it from the published model"
        )
    return base


def _load(options: ExportOptions, adapter: SavedAdapter) -> tuple[Any, str]:
    """Return the base with the adapter on it, and the digest of the base."""
    model = load_exact(ModelConfig(options.model, revision=options.revision))
    digest = weights_digest(model)
    if not options.accept_other_base:
        way_out = "Give the model of the training as --model; or, if you know that it fits, --accept-other-base"
        check_base(digest, f"--model {options.model}", adapter, way_out)
    return load_adapter(model, adapter.folder, for_merge=True), digest


def _check_out(options: ExportOptions, source: ModelSource) -> None:
    """Refuse to write where something would be lost."""
    out = _place(options)
    if not (out.exists() or out.is_symlink()):
        return
    if not options.overwrite:
        raise ConfigError(f"--out must be a new folder, and {options.out} exists. Give another one, or --overwrite")
    if out.is_symlink() or not (out / EXPORT_MARKER).is_file():
        raise ConfigError(
            f"--overwrite must replace an export, a folder with {EXPORT_MARKER}, and {options.out} is none"
        )
    if Path.cwd().is_relative_to(out.resolve()):
        raise ConfigError(f"--out must not be the current folder or hold it, as {options.out} does. Go to another one")
    try:
        others = unlisted(out, EXPORT_MARKER)
    except CheckpointError as error:
        raise ConfigError(
            f"--overwrite must replace a whole export: {error}. Delete it, or give another --out"
        ) from None
    if others:
        raise ConfigError(
            f"--overwrite must replace an export and nothing else, and {options.out} holds "
            f"{counted(len(others), 'file')} that the export did not write, such as {others[0]}. Move them, or "
            "give another --out"
        )
    for option, given in (("--model", Path(source.model)), ("--adapter", options.adapter)):
        if given.is_dir() and given.resolve().is_relative_to(out.resolve()):
            raise ConfigError(f"--out must not be the folder of {option}, {given}, which would be lost")


def _place(options: ExportOptions) -> Path:
    """Return `out` as an absolute path: ``.`` alone has no name to make a scratch folder from."""
    return Path(os.path.abspath(options.out))  # `resolve` would follow a link, which is to be refused


@contextmanager
def _saving(out: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except (OSError, SafetensorError) as error:
        # What safetensors meets on a disk comes as an error of its own.
        raise OutputError(
            f"{out}: folder must be written whole, but that failed: {error}. Make room, or choose another place."
        ) from error


def _copy_adapter(folder: Path, adapter: SavedAdapter, dtype: ExportDType | None) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copyfile(adapter.folder / SETTINGS, folder / SETTINGS)
    if dtype is None:
        shutil.copyfile(adapter.folder / WEIGHTS, folder / WEIGHTS)
        return
    tensors = {k: v.to(getattr(torch, dtype)) for k, v in load_file(adapter.folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _about(options: ExportOptions, adapter: SavedAdapter, made: _Made) -> dict[str, Any]:
    """Return what ``export.json`` says: what the export was made of, and what became of it."""
    base = base_name(options.model)
    merged = options.format == "merged"
    serve: str | None = f"vllm serve {shlex.quote(str(options.out))}"
    if not merged:
        # A server finds no built-in model by its name.
        serve = None if base.startswith("builtin:") else serve_command(adapter, base, options.out)
    return {
        "format": options.format,
        "dtype": options.dtype or (MERGED_DTYPE if merged else None),
        "base": base,
        "revision": options.revision,
        "base_digest": made.base_digest,
        "adapter": {
            "path": str(options.adapter),
            "kind": adapter.kind,
            "sha256": adapter.digest(),
            "base": adapter.base,
            "base_digest": adapter.base_digest,
            "quantization": adapter.quantization,
        },
        "versions": {"dcap": dcap.__version__, **{name: version(name) for name in PACKAGES}},
        "survival": [
            {"tower": each.tower, "layer": each.layer, "share": round(each.share, 6)} for each in made.survival
        ],
        "serve": serve,
    }


def survival_lines(survival: Sequence[Survival]) -> list[str]:
    """Return for each tower, in words, how much of the update survived the cast."""
    lines = []
    for tower in TOWERS:
        layers = [each for each in survival if each.tower == tower]
        if layers:
            least = min(layers, key=lambda each: each.share)
            some = f"; {sum(each.share < LEAST_SHARE for each in layers)} below {LEAST_SHARE:.0%}"
            lines.append(
                f"{tower}: at least {least.share:.1%} of the update survives the cast ({least.layer}) in "
                f"{counted(len(layers), 'layer')}{some if least.share < LEAST_SHARE else ''}"
            )
    return lines


def loss_warning(survival: Sequence[Survival], dtype: str) -> str | None:
    """Return what it means that some of the update was lost to rounding. `None`: at least `LEAST_SHARE` is left."""
    if all(each.share >= LEAST_SHARE for each in survival):
        return None
    least = min(survival, key=lambda each: each.share)
    return (
        f"only {least.share:.1%} of the update of {least.tower} {least.layer} is left in {dtype}: the update is small "
        "beside the weights, and rounding takes more of it than it should. The merged model may answer less like the "
        "tuned one. Compare them with --check, serve base and adapter unmerged (--format peft), or write --dtype "
        "float32"
    )
