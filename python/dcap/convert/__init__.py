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
    from dcap.convert.division import Division
    from dcap.convert.found_source import FoundSource, FoundSources, find_sources
    from dcap.convert.image_folder import ImageFolder, ImageSearch
    from dcap.convert.label_map import LabelMap
    from dcap.convert.reader import FoundObject, Item, Opened, Reader
    from dcap.convert.readers import READERS
    from dcap.convert.resize import Resizer

__all__ = [
    "READERS",
    "CocoOptions",
    "ConversionReport",
    "ConvertOptions",
    "Division",
    "FoundObject",
    "FoundSource",
    "FoundSources",
    "ImageFolder",
    "ImageSearch",
    "Item",
    "LabelMap",
    "Loss",
    "Opened",
    "Reader",
    "Resizer",
    "SourcePlace",
    "convert",
    "find_sources",
    "read_records",
    "to_coco",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "coco_writer": ("CocoOptions", "to_coco"),
        "conversion": ("ConvertOptions", "convert", "read_records"),
        "conversion_report": ("ConversionReport", "Loss", "SourcePlace"),
        "division": ("Division",),
        "found_source": ("FoundSource", "FoundSources", "find_sources"),
        "image_folder": ("ImageFolder", "ImageSearch"),
        "label_map": ("LabelMap",),
        "reader": ("FoundObject", "Item", "Opened", "Reader"),
        "readers": ("READERS",),
        "resize": ("Resizer",),
    },
)
