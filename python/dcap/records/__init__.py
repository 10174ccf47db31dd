"""Records: the contract of annotation files, their checking, their preprocessors and their images.

Example:
    records = open_records("builtin:photos/train.jsonl")
    record = records[0]
    pixels = decode_image(image_source(record), record.canvas)
    record.shapes, record.captions
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.records.checking import BadRecord, CheckedRecords, ImageRules, check_records
    from dcap.records.files.opening import Records, expand_sources, open_records, open_source
    from dcap.records.files.source import RecordSource
    from dcap.records.images import ImageHeader, decode_image, read_header
    from dcap.records.look_alikes import Looks, find_look_alikes, look_at, look_of
    from dcap.records.preprocess import PREPROCESSORS, Chain, Preprocessor, PreprocessorConfig
    from dcap.records.record import Origin, Record, image_path, image_source, parse_record, to_dict

__all__ = [
    "PREPROCESSORS",
    "BadRecord",
    "Chain",
    "CheckedRecords",
    "ImageHeader",
    "ImageRules",
    "Looks",
    "Origin",
    "Preprocessor",
    "PreprocessorConfig",
    "Record",
    "RecordSource",
    "Records",
    "check_records",
    "decode_image",
    "expand_sources",
    "find_look_alikes",
    "image_path",
    "image_source",
    "look_at",
    "look_of",
    "open_records",
    "open_source",
    "parse_record",
    "read_header",
    "to_dict",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "checking": ("BadRecord", "CheckedRecords", "ImageRules", "check_records"),
        "files.opening": ("Records", "expand_sources", "open_records", "open_source"),
        "files.source": ("RecordSource",),
        "images": ("ImageHeader", "decode_image", "read_header"),
        "look_alikes": ("Looks", "find_look_alikes", "look_at", "look_of"),
        "preprocess": ("PREPROCESSORS", "Chain", "Preprocessor", "PreprocessorConfig"),
        "record": ("Origin", "Record", "image_path", "image_source", "parse_record", "to_dict"),
    },
)
