"""Records with pictures, and the files that hold both."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 12, 8


def picture(i: int, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), i % 256, np.uint8)).save(out, kind)
    return out.getvalue()


def annotation(i: int, **extra: Any) -> dict[str, Any]:
    objects = [{"desc": f"thing {i}", "bbox_2d": [1, 1, 5, 5]}]
    return {"width": WIDTH, "height": HEIGHT, "objects": objects, "summary": f"picture {i}", **extra}


def samples(count: int) -> list[tuple[str, bytes]]:
    """Members of a shard: a picture and its record, `count` times."""
    return [
        member
        for i in range(count)
        for member in ((f"{i:04}.png", picture(i)), (f"{i:04}.json", json.dumps(annotation(i)).encode()))
    ]


def write_tar(path: Path, members: Iterable[tuple[str | tarfile.TarInfo, bytes]], **options: Any) -> Path:
    with tarfile.open(path, "w", **options) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]], schema: Any = None, **options: Any) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(rows, schema), path, **options)
    return path


def parquet_rows(count: int) -> list[dict[str, Any]]:
    """Rows as ``datasets`` writes them: the picture in a struct, its path beside it."""
    return [annotation(i, image={"bytes": picture(i), "path": f"{i:04}.png"}) for i in range(count)]
