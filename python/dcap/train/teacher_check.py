"""Whether a model and its teacher fit together, found out before the weights of either are read."""

from __future__ import annotations

from typing import Any

from dcap.core.errors import ConfigError
from dcap.data.encode import load_tokenizer
from dcap.model.config import ModelConfig
from dcap.model.load import WHERE, blank_model, check_source
from dcap.model.lora import attach, bare_model, trainable
from dcap.train.distill_config import ADAPTER_OFF, DistillConfig
from dcap.train.vision_distance import check_vision


def teacher_model(model: ModelConfig, distill: DistillConfig) -> ModelConfig:
    """Return how to load a teacher from elsewhere: in the precision and with the attention of `model`."""
    return ModelConfig(distill.teacher, dtype=model.dtype, attention=model.attention)


def check_teacher(model: ModelConfig, distill: DistillConfig) -> None:
    """Refuse a teacher that cannot be compared with the model, an adapter that does not fit, and a constant distance.

    Args:
        model: The model that is tuned.
        distill: Names the teacher, and what is compared.

    Raises:
        ConfigError: It is so; or the teacher is no Qwen3-VL or has another vocabulary.
        MissingPackageError: ``builtin:tiny`` is asked for without the package that holds the vocabulary.
    """
    student = attach(blank_model(model), model)
    settings = bare_model(student).config
    if distill.vision is not None:
        check_vision(distill.vision, trainable(student), settings.vision_config)
    if distill.teacher == ADAPTER_OFF:
        return
    other = teacher_model(model, distill)
    try:
        source, theirs = check_source(other), blank_model(other).config
    except ConfigError as error:
        raise ConfigError(f"distill.teacher: {str(error).removeprefix(f'{WHERE}: ')}") from None
    _check_vocabulary(check_source(model), model.revision, settings, source, theirs)
    if distill.vision is not None:
        for name in ("hidden_size", "out_hidden_size", "depth", "deepstack_visual_indexes"):
            one, two = getattr(settings.vision_config, name), getattr(theirs.vision_config, name)
            if one != two:
                raise ConfigError(
                    f"distill.vision must be left out with a teacher whose vision side has another shape: {name} is "
                    f"{two} in {source}, and {one} in the model"
                )


def teacher_bytes(model: ModelConfig, distill: DistillConfig) -> int:
    """Return the bytes of the weights that a teacher takes beside the model; 0 where it is the model itself.

    Raises:
        ConfigError: It is no Qwen3-VL.
        MissingPackageError: As `check_teacher`.
    """
    if distill.teacher == ADAPTER_OFF:
        return 0
    return sum(p.numel() * p.itemsize for p in blank_model(teacher_model(model, distill)).parameters())


def _check_vocabulary(source: str, revision: str | None, settings: Any, other: str, theirs: Any) -> None:
    one, two = settings.text_config.vocab_size, theirs.text_config.vocab_size
    if one != two:
        raise ConfigError(f"distill.teacher must have the {one} tokens of the model, not {two} as {other} has")
    tokenizers: tuple[Any, Any] = load_tokenizer(source, revision), load_tokenizer(other)
    ours, others = (each.get_vocab() for each in tokenizers)
    for token, index in sorted(ours.items(), key=lambda item: item[1]):
        if others.get(token) != index:
            raise ConfigError(
                f"distill.teacher must have the tokens of the model, but token {index} is not {token!r} in {other}. "
                "Take one of the same family"
            )
