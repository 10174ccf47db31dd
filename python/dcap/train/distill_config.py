"""The ``distill:`` section of a config: how close the tuned model is held to a teacher.

Each field is the whole contract of one setting. What a setting needs of the rest of the run is checked here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from dcap.core.config import check_fields
from dcap.core.errors import ConfigError, nearest_hint
from dcap.model.config import ModelConfig

DivergenceKind = Literal["forward_kl", "reverse_kl", "jsd"]
Distance = Literal["cosine", "mse"]
ADAPTER_OFF = "adapter_off"
_TEMPERATURES = (0.01, 100.0)
_MOST = 1e6
"""Of weights: float32 must hold the sums of products with them."""


@dataclass(frozen=True)
class KindWeights:
    """Weight of each kind of token in the distillation term."""

    caption: float = 1.0
    """Words of captions."""
    coordinate: float = 0.0
    """Digits of coordinates. 0: a teacher that never saw the objects does not pull them."""
    structure: float = 1.0
    """Everything else of an answer, such as brackets and keys."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("caption", "coordinate", "structure"):
            if not 0.0 <= getattr(self, name) <= _MOST:
                raise ConfigError(f"{name} must be within 0..{_MOST:g}, not {getattr(self, name):g}")
        if not (self.caption or self.coordinate or self.structure):
            raise ConfigError(
                "caption, coordinate and structure must not all be 0: no token would be left. Leave out the section "
                "distill, or give one of them a weight"
            )


@dataclass(frozen=True)
class FeatureTerm:
    """The distance of one kind of visual feature from that of the teacher."""

    weight: float = 0.1
    """Weight of the mean distance in the loss."""
    distance: Distance = "cosine"
    """``cosine``: 1 - the cosine of each visual token. ``mse``: the mean of the squared differences."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_feature_weight(self.weight)


@dataclass(frozen=True)
class DeepstackTerm:
    """The distance of the features that go into the first layers of the language model."""

    weight: float = 0.1
    """Weight of the mean distance in the loss, shared out evenly among the layers."""
    distance: Distance = "cosine"
    """``cosine``: 1 - the cosine of each visual token. ``mse``: the mean of the squared differences."""
    layers: tuple[int, ...] = ()
    """Which of them, from 0. ``[]``: all."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_feature_weight(self.weight)
        if any(layer < 0 for layer in self.layers) or len(set(self.layers)) < len(self.layers):
            raise ConfigError(f"layers must name each layer once, from 0, not {', '.join(map(str, self.layers))}")

    def layers_of(self, count: int) -> tuple[int, ...]:
        """Return the layers that are compared, of a model that has `count`."""
        return self.layers or tuple(range(count))


def _check_feature_weight(weight: float) -> None:
    if not 0.0 < weight <= _MOST:
        raise ConfigError(f"weight must be above 0 and at most {_MOST:g}, not {weight:g}. Or leave the distance out")


@dataclass(frozen=True)
class VisionTerms:
    """Distances of what the model sees from what the teacher sees. One that is left out does not count."""

    vit: FeatureTerm | None = None
    """What goes into the merger. The vision tower must train."""
    aligner: FeatureTerm | None = None
    """What comes out of the merger. The vision tower or the aligner must train."""
    deepstack: DeepstackTerm | None = None
    """What comes out of each deepstack merger. The vision tower or the aligner must train."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.vit is None and self.aligner is None and self.deepstack is None:
            raise ConfigError("vit, aligner or deepstack must be given. Or leave out distill.vision")

    def check_model(self, model: ModelConfig) -> None:
        """Refuse a distance below which nothing trains: it would be constant.

        Raises:
            ConfigError: Names it, and what would have to train.
        """
        if self.vit is not None and model.freeze_vit:
            raise ConfigError(
                "distill.vision.vit must be left out where model.freeze_vit is true: nothing below it trains, so it "
                "would be constant"
            )
        for name in ("aligner", "deepstack"):
            if getattr(self, name) is not None and model.freeze_vit and model.freeze_aligner:
                raise ConfigError(
                    f"distill.vision.{name} must be left out where model.freeze_vit and model.freeze_aligner are true: "
                    "nothing below it trains, so it would be constant"
                )


@dataclass(frozen=True)
class DistillConfig:
    """A further term of the loss: how far the model is from its teacher at the supervised tokens."""

    weight: float = 0.1
    """Weight of the term, per token, where cross-entropy has 1. It means the same for any length of samples, packing,
    number of devices and steps. 0: measure the distance only."""
    teacher: str = ADAPTER_OFF
    """Whom to stay close to. ``adapter_off``: the base model under the adapters, which takes no further memory for
    weights. A folder or hub id: another Qwen3-VL with the same vocabulary, in the precision of the model, held beside
    it."""
    divergence: DivergenceKind = "forward_kl"
    """``forward_kl``: KL(teacher | student), which keeps all that the teacher would say. ``reverse_kl``: KL(student |
    teacher), which keeps the student off what the teacher would not say. ``jsd``: between the two, by `beta`."""
    beta: float = 0.5
    """With ``jsd``: share of the teacher in the mixture m that both are compared with. The divergence is beta x
    KL(teacher | m) + (1 - beta) x KL(student | m)."""
    temperature: float = 1.0
    """Both distributions are softened by it: logits are divided by T. The term is multiplied by T x T, so that its
    gradient keeps its size."""
    tokens: KindWeights = field(default_factory=KindWeights)
    """Weight of each kind of token. The loss weight of the sample is multiplied with it."""
    sources: tuple[str, ...] = ()
    """Names of the data sets whose samples take part. ``[]``: all."""
    vision: VisionTerms | None = None
    """Further terms: the distance of visual features. `null`: no such terms."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0.0 <= self.weight <= _MOST:
            raise ConfigError(f"weight must be within 0..{_MOST:g}, not {self.weight:g}")
        lowest, highest = _TEMPERATURES
        if not lowest <= self.temperature <= highest:
            raise ConfigError(
                f"temperature must be within {lowest:g}..{highest:g}, not {self.temperature:g}: logits are divided by "
                "it. 1 leaves them as they are"
            )
        if not 0.0 < self.beta < 1.0:
            raise ConfigError(
                f"beta must be above 0 and below 1, not {self.beta:g}. At its ends the divergence is always 0: take "
                "divergence forward_kl or reverse_kl"
            )
        if self.beta != type(self).beta and self.divergence != "jsd":
            raise ConfigError(f"beta must be left out with divergence {self.divergence}, as only jsd has it")
        if not self.teacher:
            raise ConfigError(f"teacher must be {ADAPTER_OFF} or name a model, and is empty")

    def check_model(self, model: ModelConfig) -> None:
        """Refuse a teacher that this model cannot be.

        Raises:
            ConfigError: The towers train in full, so there is no adapter to switch off.
        """
        if model.adapter.type == "full" and self.teacher == ADAPTER_OFF:
            towers = [tower for tower in ("llm", "vit", "aligner") if not getattr(model, f"freeze_{tower}")]
            raise ConfigError(
                f"distill.teacher must not be {ADAPTER_OFF} where {' and '.join(towers)} train in full, as there is no "
                f"adapter to switch off. Name the base itself, as distill.teacher={model.name_or_path}, which is then "
                "held beside the model; or set model.adapter.type=lora"
            )
        if self.vision is not None:
            self.vision.check_model(model)

    def check_sources(self, names: Sequence[str]) -> None:
        """Refuse a source that is no data set.

        Args:
            names: Of the data sets of the run.

        Raises:
            ConfigError: There is no data set of a name.
        """
        for name in self.sources:
            if name not in names:
                raise ConfigError(
                    f"distill.sources must name data sets of the run ({', '.join(names)}), not {name!r}"
                    f"{nearest_hint(name, names)}"
                )
