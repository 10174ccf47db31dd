"""Which engine answers, and how it is opened: the choice that all commands share which ask a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dcap.core.errors import ConfigError
from dcap.data.encode import Encoder, load_tokenizer
from dcap.infer.engine import TextEngine
from dcap.infer.openai_engine import OpenAiEngine
from dcap.infer.predictor import AskedMode, Predictor
from dcap.infer.server import Server
from dcap.infer.source import DType, ModelSource, find_source
from dcap.model.config import Quantization
from dcap.model.decoding import Decoding

HF = "hf"
OPENAI = "openai:"
MAX_TIMEOUT_S = 86_400
"""Longest wait for a sign of life of a server: a day."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Where the model runs.

    Raises:
        ConfigError: There is no such engine, or a number is out of its range.
    """

    engine: str = HF
    """``hf``: in this process. ``openai:URL``: on a server that speaks OpenAI's protocol, such as vLLM or SGLang."""
    batch_size: int = 4
    """With ``hf``: number of images at a time."""
    revision: str | None = None
    """Hub revision of the model. `None`: the newest."""
    dtype: DType | None = None
    """With ``hf``: precision. `None`: bfloat16 on CUDA, float32 on the CPU."""
    quantization: Quantization | None = None
    """With ``hf``: how the weights of the model are held, as ``model.quantization``. `None`: as they were when the
    adapter was trained."""
    device: str | None = None
    """With ``hf``: ``cuda``, ``cuda:1`` or ``cpu``. `None`: CUDA if there is one, else the CPU."""
    server_model: str | None = None
    """With a server: the name by which it knows the model. `None`: the only one that it serves."""
    concurrency: int = 16
    """With a server: number of requests at a time."""
    timeout_s: float = 600.0
    """With a server: seconds without a sign of life after which a request is sent again."""

    def __post_init__(self) -> None:
        if self.engine != HF and not self.engine.startswith(OPENAI):
            raise ConfigError(f"--engine must be {HF} or {OPENAI}URL, such as {OPENAI}http://localhost:8000/v1, not "
                              f"{self.engine.partition(':')[0]}")  # fmt: skip
        for name in ("batch_size", "concurrency"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.timeout_s <= MAX_TIMEOUT_S:
            raise ConfigError(f"--timeout must be above 0 and at most {MAX_TIMEOUT_S} seconds, not {self.timeout_s:g}")

    @property
    def is_server(self) -> bool:
        """Whether a server has the model."""
        return self.engine != HF

    def server(self) -> Server:
        """Return the server.

        Raises:
            ConfigError: Its address or the key for it cannot work.
        """
        return Server(self.engine.removeprefix(OPENAI), timeout_s=self.timeout_s)

    def resolved(self) -> EngineOptions:
        """Return the options with device, precision or the server's model filled in where they were left open.

        Raises:
            ConfigError: There is no such device, or the server's model must be named.
            ServerError: The server does not answer.
        """
        if self.is_server:
            return replace(self, server_model=OpenAiEngine.choose_model(self.server(), self.server_model))
        # Who asks a server needs no torch, which takes seconds to import.
        from dcap.infer.hf_engine import choose_device

        device, dtype = choose_device(self.device, self.dtype)
        return replace(self, device=str(device), dtype=dtype)

    def made_with(self) -> dict[str, str | None]:
        """Return what answers depend on, as plain data; of `resolved` options."""
        # A server may move, so its address does not count.
        return {"engine": "openai", "server-model": self.server_model} if self.is_server else {"dtype": self.dtype}

    def open(self, source: ModelSource, encoder: Encoder) -> TextEngine:
        """Return the engine; of `resolved` options.

        Args:
            source: From `find_source`.
            encoder: Counts the tokens of prompts, to compare them with the server's.

        Raises:
            ConfigError: The model or the adapter cannot be loaded, or they do not fit.
        """
        if self.is_server:
            return OpenAiEngine(
                self.server(),
                str(self.server_model),
                encoder=encoder,
                max_pixels=source.profile.answer.max_pixels,
                num_parallel=self.concurrency,
            )
        import torch

        from dcap.infer.hf_engine import HfEngine

        return HfEngine.load(
            source,
            device=torch.device(str(self.device)),
            dtype=self.dtype or "float32",
            revision=self.revision,
            batch_size=self.batch_size,
        )


def open_predictor(
    source: ModelSource, options: EngineOptions, decoding: Decoding | None = None, mode: AskedMode | None = None
) -> Predictor:
    """Return a predictor that is ready to answer; a server has shown that it agrees with the answer profile.

    Args:
        source: From `find_source`.
        options: Where the model runs, `resolved`.
        decoding: How answers are written. `None`: greedily.
        mode: As `load_predictor`.

    Raises:
        ConfigError: The model or the adapter cannot be loaded, or they or the options do not fit.
        ServerError: The server does not answer, or counts other tokens in prompts.
    """
    encoder = Encoder(load_tokenizer(source.model, options.revision))
    engine = options.open(source, encoder)
    predictor = Predictor(engine, encoder, source.profile, mode or source.mode, decoding or Decoding())
    if isinstance(engine, OpenAiEngine):
        engine.agree([question.request for question in predictor.extreme_questions()], predictor.decoding)
    return predictor


def load_predictor(
    model: str | Path,
    adapter: str | Path | None = None,
    *,
    mode: AskedMode | None = None,
    dataset: str | None = None,
    decoding: Decoding | None = None,
    engine: str = HF,
    server_model: str | None = None,
    device: str | None = None,
    dtype: DType | None = None,
    quantization: Quantization | None = None,
    revision: str | None = None,
) -> Predictor:
    """Load a tuned model, or find the server that has it; ready for `predict_image`.

    Example:
        predictor = load_predictor("Qwen/Qwen3-VL-4B-Instruct", "runs/mine/final")

    Args:
        model: Built-in model, hub id or folder.
        adapter: Folder that ``dcap train`` wrote, or the adapter's own folder. `None`: no adapter.
        mode: Kind of answer. `None`: the kind that the model was trained for; objects if it was trained for both.
        dataset: Data set of a mixture; its prompts and answer format are used. `None`: those of ``data.answer``.
        decoding: How answers are written. `None`: greedily, with at most 4096 tokens.
        engine: ``hf``: in this process. ``openai:URL``: on a server; its answer profile and tokenizer are read here.
        server_model: As `EngineOptions.server_model`.
        device: ``cuda``, ``cuda:1`` or ``cpu``. `None`: CUDA if there is one, else the CPU.
        dtype: Precision. `None`: bfloat16 on CUDA, float32 on the CPU.
        quantization: As `EngineOptions.quantization`.
        revision: Hub revision of the model. `None`: the newest.

    Raises:
        ConfigError: The model, the adapter or the device does not exist, or they do not fit.
        CheckpointError: The answer profile beside the weights is torn or unknown.
        MissingPackageError: ``builtin:tiny``, or weights in 4 bits, need a package that is not installed.
        ServerError: The server does not answer, or not as agreed.
    """
    options = EngineOptions(engine, revision=revision, dtype=dtype, device=device, server_model=server_model)
    folder = None if adapter is None else Path(adapter)
    source = find_source(str(model), folder, dataset, needs_weights=not options.is_server, quantization=quantization)
    return open_predictor(source, options.resolved(), decoding, mode)
