"""The base of all other layers: errors, registry, configuration, randomness, log, progress, files, processes.

Example:
    try:
        record = parse_record(line, origin)
    except DcapError as error:
        print(error)
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.core.errors import (
        AnswerError,
        CheckpointError,
        ConfigError,
        DcapError,
        GeometryError,
        ImageError,
        MissingPackageError,
        OutputError,
        PluginError,
        RecordError,
        ServerError,
        StoppedError,
        TrainingError,
        WorkerError,
    )
    from dcap.core.files import write_whole, written_whole
    from dcap.core.parallel import map_in_order
    from dcap.core.registry import Registry
    from dcap.core.threads import map_in_threads

__all__ = [
    "AnswerError",
    "CheckpointError",
    "ConfigError",
    "DcapError",
    "GeometryError",
    "ImageError",
    "MissingPackageError",
    "OutputError",
    "PluginError",
    "RecordError",
    "Registry",
    "ServerError",
    "StoppedError",
    "TrainingError",
    "WorkerError",
    "map_in_order",
    "map_in_threads",
    "write_whole",
    "written_whole",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "errors": (
            "AnswerError",
            "CheckpointError",
            "ConfigError",
            "DcapError",
            "GeometryError",
            "ImageError",
            "MissingPackageError",
            "OutputError",
            "PluginError",
            "RecordError",
            "ServerError",
            "StoppedError",
            "TrainingError",
            "WorkerError",
        ),
        "files": ("write_whole", "written_whole"),
        "parallel": ("map_in_order",),
        "registry": ("Registry",),
        "threads": ("map_in_threads",),
    },
)
