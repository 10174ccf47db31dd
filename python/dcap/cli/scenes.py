"""``dcap scenes``: rendered scenes with exact labels, as files."""

from __future__ import annotations

import argparse
from pathlib import Path

from dcap.core.log import get_logger
from dcap.core.outputs import PICTURE_MARK, Output, check_folder, check_outputs, outputs_given
from dcap.core.progress import progress_bars
from dcap.core.words import counted

log = get_logger(__name__)

EPILOG = """\
examples:
  dcap scenes --out runs/scenes num=200                           images, scenes.jsonl and sheet.png
  dcap scenes --out runs/hard num=50 level=hard summary=true      with hidden parts, and counts
  dcap scenes --out runs/sides num=50 relations=left_right        "red box left of the blue line"
  dcap scenes --out runs/stars num=50 kinds=star,line seed=7

Files are needed by other programs only: dcap itself takes scenes by name, as in
  dcap validate 'builtin:scenes?num=50&level=hard'

next: dcap guide scenes
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap scenes`` to the command line."""
    parser = subparsers.add_parser(
        "scenes",
        help="render scenes with exact labels, for tests and experiments",
        description="Render scenes of coloured shapes, and write images, records and a sheet to look at.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="an option of scenes, such as level=hard")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="write into this folder")
    parser.add_argument("--overwrite", action="store_true", help="replace existing records in --out")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the files, and return the exit code.

    Raises:
        ConfigError: An option is unknown or wrong, or ``--out`` holds files that are not to be replaced.
        OutputError: The folder or the disk does not allow it.
    """
    from dcap.demo.scene_folder import IMAGE_FOLDER, RECORDS_FILE, SHEET_FILE, write_scenes
    from dcap.demo.scenes import NAME, SceneOptions, SceneRecords
    from dcap.records.files.generated import options_of, read_options

    scenes = SceneRecords(read_options(SceneOptions, options_of(args.overrides), NAME))
    out, images = args.out, args.out / IMAGE_FOLDER
    check_folder("--out", images)
    older = [Output("--out", path, PICTURE_MARK) for path in images.glob("*.png")]
    records, sheet = ("--out", out / RECORDS_FILE, args.overwrite), ("--out", out / SHEET_FILE, PICTURE_MARK)
    check_outputs([*outputs_given(records, sheet), *older], ())
    with progress_bars() as told:
        write_scenes(scenes, out, lambda done: told("scenes", done, len(scenes)))
    log.info("wrote %s to %s, and the first ones with labels to %s", counted(len(scenes), "scene"),
             out / RECORDS_FILE, out / SHEET_FILE)  # fmt: skip
    return 0
