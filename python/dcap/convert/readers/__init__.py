"""The readers of dcap, one file per format; importing this registers them."""

from dcap.convert.readers import coco, jsonl, labelme, lvis, voc, yolo

__all__ = ["coco", "jsonl", "labelme", "lvis", "voc", "yolo"]
