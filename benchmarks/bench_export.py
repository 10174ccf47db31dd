"""The merge and the writing of an export, against a copy of the files of its base; a ratio only, since machines differ.

Run with ``pytest benchmarks/bench_export.py --benchmark-only``. The tiny model is made wider, so that weights count and
not the number of layers. Both sides end with a whole folder on the disk and the digests of its files.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dcap.core.files import folder_written_whole
from dcap.core.manifest import EXPORT_MARKER, seal
from dcap.data.encode import Encoder, load_tokenizer
from dcap.demo.models import ModelSize, build_tiny
from dcap.model.config import ModelConfig
from dcap.model.load import load_exact
from dcap.model.lora import load_adapter
from dcap.model.merge import merge_adapter
from dcap.model.saved_model import BaseFiles, save_model
from support.tuned import KINDS, PROFILE, write_tuned
from timing import least, missed, turns

WIDTH = 256
EXPORT, COPY = "merged and written", "files copied"
# What fails the benchmark: an export that takes more than twice as long as a copy.
FLOORS = {(COPY, EXPORT): 0.5}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("wide") / "base", size=ModelSize(hidden_size=WIDTH))


def written(out: Path, write: Callable[[Path], object]) -> float:
    """Return the seconds that it takes to write a folder whole."""
    begin = time.perf_counter()
    with folder_written_whole(out) as folder:
        write(folder)
        (folder / EXPORT_MARKER).write_text("{}")
        seal(folder, EXPORT_MARKER)
    spent = time.perf_counter() - begin
    shutil.rmtree(out)
    return spent


def test_export(base: Path, tmp_path: Path, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    final = write_tuned(tmp_path / "final", base, KINDS["lora"])
    files, encoder = BaseFiles(str(base), answer=PROFILE.answer), Encoder(load_tokenizer(str(base)))
    times: dict[str, list[float]] = {EXPORT: [], COPY: []}

    def export() -> float:
        adapted = load_adapter(load_exact(ModelConfig(str(base))), final / "adapter")

        def write(folder: Path) -> None:
            model, _ = merge_adapter(adapted, torch.float32)
            save_model(model, folder, files, encoder, dtype=torch.float32)

        return written(tmp_path / "out", write)

    def copy(folder: Path) -> None:
        for path in base.iterdir():
            shutil.copyfile(path, folder / path.name)

    for _ in turns(times, FLOORS, 8.0):
        times[EXPORT].append(export())
        times[COPY].append(written(tmp_path / "copy", copy))
    seconds = least(times)
    benchmark.pedantic(export, rounds=1)
    size = sum(path.stat().st_size for path in base.iterdir()) / 1e6
    with capsys.disabled():
        print(f"\nan export of {size:.0f} MB, loaded before:")
        for name, value in seconds.items():
            print(f"  {name:20s} {value:6.2f} s  {size / value:6.0f} MB/s  {seconds[COPY] / value:5.2f}x a copy")
    assert missed(seconds, FLOORS) == {}
