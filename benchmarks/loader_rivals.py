"""A loader as people write one: torch's DataLoader, AlbumentationsX, Hugging Face's image processor and tokenizer.

It makes the same rows as dcap's, by plain means: the same prompt, answers in the same words and order, labels,
4-row positions, one token budget. It is given what is quick: lines in memory, cv2 to read a JPEG (the bits of
Pillow's, sooner), a template rendered once, workers that live on from epoch to epoch.
"""

from __future__ import annotations

import json
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from augment_rivals import hugging_face
from dcap.data.encode import Tokenizer

Tensors = dict[str, torch.Tensor]
Objects = list[tuple[str, str, Any]]
"""Caption, key and points (N, 2) of each object."""
IMAGE_PAD, IGNORE_INDEX = "<|image_pad|>", -100
SAMPLES_PER_BATCH = 8


class PlainDataset(Dataset[Tensors]):
    """One sample per line of a JSONL file.

    Args:
        path: The file.
        tokenizer: Of the model.
        prompt: What the user asks.
        pipeline: `A.Compose` that takes boxes and keypoints, or None.
    """

    def __init__(self, path: Path, tokenizer: Tokenizer, prompt: str, pipeline: Any) -> None:
        self.lines, self.folder = path.read_bytes().splitlines(), path.parent
        self.tokenizer, self.pipeline, self.processor = tokenizer, pipeline, hugging_face()
        question = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
        self.prompt: str = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
        self.image_id = tokenizer.convert_tokens_to_ids(IMAGE_PAD)

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, i: int) -> Tensors:
        record = json.loads(self.lines[i])
        image = cv2.imread(str(self.folder / record["images"][0]), cv2.IMREAD_COLOR_RGB)
        objects = read_objects(record)
        if self.pipeline is not None:
            image, objects = augmented(self.pipeline, image, objects)
        answer = answer_text(objects, image.shape[1], image.shape[0])
        pixels = self.processor(image, return_tensors="pt")
        num_image_tokens = int(pixels["image_grid_thw"].prod()) // 4
        prompt = self._ids(self.prompt.replace(IMAGE_PAD, IMAGE_PAD * num_image_tokens))
        reply = self._ids(f"{answer}<|im_end|>")
        ids = torch.tensor(prompt + reply)
        return {
            "input_ids": ids,
            "labels": torch.tensor([IGNORE_INDEX] * len(prompt) + reply),
            "mm_token_type_ids": (ids == self.image_id).long(),
            "pixel_values": pixels["pixel_values"],
            "image_grid_thw": pixels["image_grid_thw"],
            "index": torch.tensor([i]),
            "num_objects": torch.tensor([len(objects)]),
        }

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def read_objects(record: dict[str, Any]) -> Objects:
    found = []
    for item in record["objects"]:
        key = next(k for k in ("bbox_2d", "poly", "line") if k in item)
        found.append((item["desc"], key, np.array(item[key], float).reshape(-1, 2)))
    return found


def augmented(pipeline: Any, image: Any, objects: Objects) -> tuple[Any, Objects]:
    """Boxes as boxes, other points as keypoints; an object without a point inside is gone, others are clamped."""
    boxes = [i for i, (_, key, _) in enumerate(objects) if key == "bbox_2d"]
    others = [i for i, (_, key, _) in enumerate(objects) if key != "bbox_2d"]
    made = pipeline(
        image=image,
        bboxes=np.array([objects[i][2].ravel() for i in boxes]).reshape(-1, 4),
        box_ids=boxes,
        keypoints=np.concatenate([np.empty((0, 2)), *(objects[i][2] for i in others)]),
    )
    height, width = made["image"].shape[:2]
    left = {int(i): box.reshape(2, 2) for i, box in zip(made["box_ids"], made["bboxes"], strict=True)}
    ends = np.cumsum([len(objects[i][2]) for i in others])
    for i, points in zip(others, np.split(made["keypoints"], ends[:-1]), strict=True):
        if ((points >= 0) & (points < [width, height])).all(axis=1).any():
            left[i] = np.clip(points, 0, [width, height])
    return made["image"], [(objects[i][0], objects[i][1], left[i]) for i in sorted(left)]


def answer_text(objects: Objects, width: int, height: int) -> str:
    """From top to bottom, then from left to right; contours from their top clockwise; thousandths of the image."""
    objects = sorted(objects, key=lambda o: (o[2][:, 1].min(), o[2][:, 0].min()))
    items: dict[str, Any] = {}
    for n, (caption, key, points) in enumerate(objects, 1):
        grid = np.rint(points / [width, height] * 1000).astype(int).tolist()
        if key == "bbox_2d":
            items[f"object_{n}"] = {key: grid[0] + grid[1], "desc": caption}
            continue
        grid = [p for k, p in enumerate(grid) if k == 0 or p != grid[k - 1]]
        if key == "poly":
            grid = clockwise_from_top(grid)
        items[f"object_{n}"] = {f"{key}_points": len(grid), key: grid, "desc": caption}
    return json.dumps(items, ensure_ascii=False)


def clockwise_from_top(ring: list[list[int]]) -> list[list[int]]:
    if len(ring) > 1 and ring[0] == ring[-1]:
        ring = ring[:-1]
    if sum(p[0] * q[1] - q[0] * p[1] for p, q in zip(ring, ring[1:] + ring[:1], strict=True)) < 0:
        ring = ring[::-1]
    top = min(range(len(ring)), key=lambda k: (ring[k][1], ring[k][0]))
    return ring[top:] + ring[:top]


class PackingCollate:
    """Consecutive samples into rows, each into the first that has room.

    Args:
        max_length: Most tokens of a row.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        # What `get_rope_index` asks of a model, without one.
        self.model = types.SimpleNamespace(config=types.SimpleNamespace(vision_config=None))
        self.model.config.vision_config = types.SimpleNamespace(spatial_merge_size=2)
        self.model.get_vision_position_ids = types.MethodType(Qwen3VLModel.get_vision_position_ids, self.model)

    def __call__(self, samples: Sequence[Tensors]) -> list[Tensors]:
        rows: list[list[Tensors]] = []
        for sample in samples:
            length = len(sample["input_ids"])
            room = (row for row in rows if sum(len(s["input_ids"]) for s in row) + length <= self.max_length)
            row = next(room, None)
            if row is None:
                rows.append(row := [])
            row.append(sample)
        return [self.row(row) for row in rows]

    def row(self, samples: Sequence[Tensors]) -> Tensors:
        made = {name: torch.cat([s[name] for s in samples]) for name in samples[0]}
        lengths = torch.tensor([0] + [len(s["input_ids"]) for s in samples])
        made["cu_seqlens"] = lengths.cumsum(0).int()
        positions = [self.positions(s) for s in samples]
        made["position_ids"] = torch.cat(positions, dim=-1)
        for name in ("input_ids", "labels", "mm_token_type_ids"):
            made[name] = made[name][None]
        return made

    def positions(self, sample: Tensors) -> torch.Tensor:
        ids, kinds = sample["input_ids"][None], sample["mm_token_type_ids"][None]
        three, _ = Qwen3VLModel.get_rope_index(self.model, ids, kinds, image_grid_thw=sample["image_grid_thw"])
        return torch.cat([torch.arange(ids.shape[1])[None, None], three])


def one_thread(_: int) -> None:
    cv2.setNumThreads(0)


def plain_loader(dataset: PlainDataset, max_length: int, num_workers: int) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size=SAMPLES_PER_BATCH,
        shuffle=True,
        collate_fn=PackingCollate(max_length),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        worker_init_fn=one_thread,
    )
