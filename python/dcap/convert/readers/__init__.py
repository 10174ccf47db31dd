"""The readers of dcap, one file per format; importing this registers them."""

from dcap.convert.reader import READERS
from dcap.convert.readers import coco, jsonl, labelme, lvis, voc, yolo

__all__ = ["READERS", "coco", "jsonl", "labelme", "lvis", "voc", "yolo"]
