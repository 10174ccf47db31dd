"""Write records of the bundled photos, as many as are asked for, with the photos beside them.

``python many_records.py FOLDER NUMBER`` writes FOLDER/many.jsonl and FOLDER/images.
"""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

from dcap.records import image_path, open_records, to_dict


def main(folder: Path, number: int) -> None:
    """Write `number` records into `folder`."""
    photos = []
    (folder / "images").mkdir(parents=True)
    for record in open_records("builtin:photos/photos.jsonl"):
        copy = shutil.copy(image_path(record), folder / "images")
        photos.append(dataclasses.replace(record, image=f"images/{Path(copy).name}"))
    with (folder / "many.jsonl").open("w", encoding="utf-8") as out:
        for i in range(number):
            tree = to_dict(photos[i % len(photos)])
            out.write(json.dumps({**tree, "metadata": {"number": i}}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
