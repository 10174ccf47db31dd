"""Other people's annotation formats to records, and records to COCO, with every loss counted.

Example:
    report = ConversionReport()
    reader = READERS.get("coco")()
    convert(reader, Path("instances.json"), Path("train.jsonl"), report, ConvertOptions(images=Path("images")))
    report.to_dict()
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.convert.coco_writer import CocoOptions, to_coco
    from dcap.convert.conversion import ConvertOptions, convert, read_records
    from dcap.convert.conversion_report import ConversionReport, Loss, SourcePlace
    from dcap.convert.image_folder import ImageFolder, ImageSearch
    from dcap.convert.reader import FoundObject, Item, Opened, Reader
    from dcap.convert.readers import READERS
    from dcap.convert.resize import Resizer

__all__ = [
    "READERS",
    "CocoOptions",
    "ConversionReport",
    "ConvertOptions",
    "FoundObject",
    "ImageFolder",
    "ImageSearch",
    "Item",
    "Loss",
    "Opened",
    "Reader",
    "Resizer",
    "SourcePlace",
    "convert",
    "read_records",
    "to_coco",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "coco_writer": ("CocoOptions", "to_coco"),
        "conversion": ("ConvertOptions", "convert", "read_records"),
        "conversion_report": ("ConversionReport", "Loss", "SourcePlace"),
        "image_folder": ("ImageFolder", "ImageSearch"),
        "reader": ("FoundObject", "Item", "Opened", "Reader"),
        "readers": ("READERS",),
        "resize": ("Resizer",),
    },
)
