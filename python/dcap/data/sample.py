"""Sample: one encoded training example."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcap.augment.plan import AugmentResult
from dcap.augment.scene import Scene
from dcap.data.encode import IGNORE_INDEX


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """Token ids, patches and shapes of one example; L tokens, N patches.

    Args:
        input_ids: int64 (L,): prompt, answer, ``<|im_end|>``.
        labels: int64 (L,): the answer and its ``<|im_end|>``, -100 elsewhere.
        mm_token_type_ids: int64 (L,): 1 at image placeholders, 0 elsewhere.
        position_ids: int64 (4, L): text, temporal, height and width positions.
        pixel_values: float32 (N, 1536), or None without an image.
        grid_thw: Patch grid of the image, or None.
        dataset: Name of the data set.
        sample_id: File and line of the record.
        weight: Loss weight of every supervised token.
        planned_length: Length that the plan promised before the image was opened.
        answer: The supervised text.
        augmented: Shapes and captions in canvas pixels, the plan and its telemetry; its scene holds the pixels.
    """

    input_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    mm_token_type_ids: npt.NDArray[np.int64]
    position_ids: npt.NDArray[np.int64]
    pixel_values: npt.NDArray[np.float32] | None
    grid_thw: tuple[int, int, int] | None
    dataset: str
    sample_id: str
    weight: float
    planned_length: int
    answer: str
    augmented: AugmentResult

    @property
    def num_supervised(self) -> int:
        """Tokens that carry a label."""
        return int((self.labels != IGNORE_INDEX).sum())

    @property
    def scene(self) -> Scene:
        """The image that the model sees, with its shapes and captions in canvas pixels."""
        return self.augmented.scene
