from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image


def test_the_sheet_is_drawn_without_torch(tmp_path: Path) -> None:
    """In an interpreter that has no torch."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from dcap.examples.augment_and_draw import main\n"
        "main(Path('sheet.png'), num_draws=1)\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 2 * 480
        assert sheet.height > 4 * 200
