"""Records: the contract of annotation files, their checking, and their images.

Example:
    record = parse_record(line, origin)
    record.canvas, record.captions
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.records.checking import CheckedRecords, ImageRules, check_records
    from dcap.records.images import decode_image
    from dcap.records.record import Record, parse_record

__all__ = ["CheckedRecords", "ImageRules", "Record", "check_records", "decode_image", "parse_record"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "checking": ("CheckedRecords", "ImageRules", "check_records"),
        "images": ("decode_image",),
        "record": ("Record", "parse_record"),
    },
)
