"""The distance of what a model sees from what its teacher sees, at three places of the vision side.

::

    vit         (patches, D)          what goes into the merger
    aligner     (visual tokens, H)    what comes out of it
    deepstack   (visual tokens, H)    what comes out of each of its mergers, for the first layers of the language model

A distance is a sum over rows, as it is divided by the rows of the whole step. The teacher's side is a constant. The
student's side keeps its graph: without it the distance would fall with other terms and train nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name

from dcap.core.errors import ConfigError
from dcap.train.distill_config import Distance, VisionTerms

PATCHES_PER_TOKEN = 4


def vision_weights(terms: VisionTerms, num_deepstack: int) -> dict[str, float]:
    """Return the weight of each distance in the loss, by its name: ``vit``, ``aligner`` and ``deepstack_N``.

    Args:
        terms: The weights of the config. That of deepstack is shared out evenly among its layers.
        num_deepstack: How many layers the model has there.

    Raises:
        ConfigError: A layer does not exist.
    """
    found = {name: term.weight for name, term in (("vit", terms.vit), ("aligner", terms.aligner)) if term is not None}
    if terms.deepstack is not None:
        layers = terms.deepstack.layers_of(num_deepstack)
        for layer in layers:
            if layer >= num_deepstack:
                raise ConfigError(
                    f"distill.vision.deepstack.layers must be within 0..{num_deepstack - 1} for this model, not {layer}"
                )
        found |= {f"deepstack_{layer}": terms.deepstack.weight / len(layers) for layer in layers}
    return found


def vision_distances(
    terms: VisionTerms, ours: Any, theirs: Any, token_weights: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return the sum of each distance over its rows, float32 (); differentiable in what the student sees.

    Args:
        terms: Says which distances.
        ours: What ``get_image_features`` returned for the student.
        theirs: The same for the teacher.
        token_weights: float32 (visual tokens,). A patch has the weight of its token.
    """
    found = {}
    if terms.vit is not None:
        rows = token_weights.repeat_interleave(PATCHES_PER_TOKEN)
        found["vit"] = _apart(ours.last_hidden_state, theirs.last_hidden_state, rows, terms.vit.distance)
    if terms.aligner is not None:
        pairs = torch.cat(ours.pooler_output), torch.cat(theirs.pooler_output)
        found["aligner"] = _apart(*pairs, token_weights, terms.aligner.distance)
    if terms.deepstack is not None:
        for layer in terms.deepstack.layers_of(len(ours.deepstack_features)):
            pairs = torch.cat(ours.deepstack_features[layer]), torch.cat(theirs.deepstack_features[layer])
            found[f"deepstack_{layer}"] = _apart(*pairs, token_weights, terms.deepstack.distance)
    return found


def _apart(ours: torch.Tensor, theirs: torch.Tensor, weights: torch.Tensor, distance: Distance) -> torch.Tensor:
    ours, theirs = (each if each.dtype == torch.float64 else each.float() for each in (ours, theirs.detach()))
    if distance == "mse":
        return ((ours - theirs).square().mean(dim=-1) * weights).sum()
    return ((1 - F.cosine_similarity(ours, theirs, dim=-1)) * weights).sum()


def rows_of(name: str, num_tokens: float) -> float:
    """Return how many rows a distance is the mean of, where there are `num_tokens` visual tokens."""
    return num_tokens * PATCHES_PER_TOKEN if name == "vit" else num_tokens


def check_vision(terms: VisionTerms, trained: Iterable[str], vision: Any) -> None:
    """Refuse a distance that is constant, as nothing below it trains.

    Args:
        terms: Says which distances.
        trained: Names of the parameters that train.
        vision: The model's ``config.vision_config``.

    Raises:
        ConfigError: Nothing that trains changes what is compared, or a layer does not exist.
    """
    trained, taps = list(trained), vision.deepstack_visual_indexes
    for name in vision_weights(terms, len(taps)):
        if not any(_is_below(parameter, name, taps) for parameter in trained):
            raise ConfigError(
                f"distill.vision.{name.partition('_')[0]} must have weights that train below it, and {name} has none: "
                "it would be constant. Leave it out, or let more of the vision side train (model.freeze_vit, "
                "model.freeze_aligner, model.adapter.layers)"
            )


def _is_below(parameter: str, name: str, taps: Sequence[int]) -> bool:
    """Whether a parameter acts on what is compared."""
    merger = re.search(r"visual\.(merger|deepstack_merger_list\.(\d+))\.", parameter)
    if merger is not None:
        return name == ("aligner" if merger[2] is None else f"deepstack_{merger[2]}")
    if "visual." not in parameter:
        return False
    block = re.search(r"visual\.blocks\.(\d+)\.", parameter)
    return block is None or not name.startswith("deepstack_") or int(block[1]) <= taps[int(name.rpartition("_")[2])]
