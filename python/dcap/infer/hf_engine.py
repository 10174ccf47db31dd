"""The engine that runs the model in this process, with transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dcap.core.errors import ConfigError
from dcap.core.words import counted
from dcap.data.encode import Encoder, grid_thw, load_tokenizer, patchify
from dcap.geometry.canvas import Canvas
from dcap.infer.engine import Reply, Request
from dcap.infer.source import DType, ModelSource
from dcap.model.config import ModelConfig
from dcap.model.constraint import constraint_of
from dcap.model.cpu_threads import log_cpu_threads
from dcap.model.decoding import Decoding
from dcap.model.fingerprint import weights_digest
from dcap.model.generation import Constraint, Generated, Generator, Prompt
from dcap.model.load import load_model
from dcap.model.lora import bare_model, load_adapter
from dcap.model.quantization import check_quantization

_OR_NOT = ". Or answer with the weights as they are, by --quantization none; answers will differ a little"
_GROUP = 8
"""Prompts that are made ahead, as a multiple of the batch size: their patches take memory."""


@dataclass(frozen=True, eq=False)
class HfEngine:
    """A model in this process."""

    generator: Generator
    """Model and tokenizer."""
    encoder: Encoder
    """Writes prompts as token ids."""
    batch_size: int = 4
    """Number of requests that the model answers at a time."""
    num_parallel: int = 1
    """As `TextEngine.num_parallel`: the model answers one call after the other."""

    @classmethod
    def load(
        cls,
        source: ModelSource,
        *,
        device: torch.device,
        dtype: DType,
        revision: str | None = None,
        batch_size: int = 4,
    ) -> HfEngine:
        """Load the model, adapter and tokenizer of `source`.

        Args:
            source: From `find_source`.
            device: Where the model goes.
            dtype: Precision of the model.
            revision: Hub revision of the model. `None`: the newest.
            batch_size: Number of requests that the model answers at a time.

        Raises:
            ConfigError: The model or the adapter cannot be loaded, or they do not fit.
            MissingPackageError: The weights are to be quantised, and bitsandbytes is not installed.
        """
        check_quantization(source.quantization, _OR_NOT)
        config = ModelConfig(source.model, revision=revision, dtype=dtype, quantization=source.quantization)
        log_cpu_threads(device)
        # An adapter was trained on weights that were stored unquantised.
        takes_any = source.adapter is None and source.quantization == "none"
        model = load_model(config, device, for_generation=True, may_be_quantised=takes_any)
        if source.adapter is not None:
            _check_base(model, source, dtype)
            model = bare_model(load_adapter(model, source.adapter)).eval()
        tokenizer = load_tokenizer(source.model, revision)
        generator = Generator(model, tokenizer, Decoding().max_new_tokens)
        return cls(generator, Encoder(tokenizer), batch_size)

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Reply]:
        """Return the answers to some requests, in their order; see `TextEngine.generate`.

        Raises:
            GeometryError: A side of an image is not a multiple of 32.
            ConfigError: `decoding` asks for a grammar, and the format of an answer has none.
        """
        group, number = _GROUP * self.batch_size, decoding.num_samples
        replies: list[Reply] = []
        for start in range(0, len(requests), group):
            asked = requests[start : start + group]
            prompts = [self.prompt(request) for request in asked]
            seeds = [decoding.sample_seed(request.key, k) for request in asked for k in range(number)]
            constraints = [self._constraint(request, decoding) for request in asked for _ in range(number)]
            answers = self.generator.generate(
                prompts, decoding, seeds, constraints=constraints, batch_size=self.batch_size
            )
            replies += [_reply(answer, prompts[i // number]) for i, answer in enumerate(answers)]
        return replies

    def _constraint(self, request: Request, decoding: Decoding) -> Constraint | None:
        if request.profile is None or request.image is None:
            return None
        return constraint_of(decoding, request.profile, Canvas(*request.image.shape[:2]), self.encoder)

    def prompt(self, request: Request) -> Prompt:
        """Return a request as the model takes it.

        Raises:
            GeometryError: A side of its image is not a multiple of 32.
        """
        if request.image is None:
            return Prompt(self.encoder.prompt_ids(request.system, request.user, None))
        seen = Canvas(*request.image.shape[:2])
        ids = self.encoder.prompt_ids(request.system, request.user, seen)
        return Prompt(ids, patchify(request.image), grid_thw(seen))


def _reply(answer: Generated, prompt: Prompt) -> Reply:
    return Reply(
        text=answer.text,
        finish=answer.finish,
        token_ids=answer.token_ids,
        logprobs=answer.logprobs,
        prompt_tokens=len(prompt.input_ids),
        tokens=answer.num_tokens,
    )


def _check_base(model: Any, source: ModelSource, dtype: DType) -> None:
    """Refuse an adapter of other weights: all of it would fit, and its answers would be wrong."""
    # In float16, some weights of a model are not what they were in training.
    if dtype != "float16" and source.base_digest not in (None, weights_digest(model)):
        raise ConfigError(
            f"{source.adapter} must be given the weights that it was trained on, and {source.model} has others. Give "
            "the model of the training as --model"
        )


def choose_device(device: str | None, dtype: DType | None) -> tuple[torch.device, DType]:
    """Return device and precision, with defaults for those that are not given.

    Raises:
        ConfigError: There is no such device.
    """
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ConfigError(f"device must be cuda, cuda:N or cpu, not {device!r}: {error}") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        has = f"{counted(count, 'CUDA device')}, numbered from 0" if count else "no CUDA device that torch can use"
        raise ConfigError(
            f"device must be one of this machine, which has {has}, not {device}. Give --device cpu, or leave it out; "
            "dcap doctor says what torch finds."
        )
    return chosen, dtype or ("bfloat16" if chosen.type == "cuda" else "float32")
