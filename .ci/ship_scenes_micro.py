"""Put what ``configs/scenes-micro-stage4.yaml`` trained into the package, as the weights of ``builtin:scenes-micro``.

Usage: ``python .ci/ship_scenes_micro.py runs/scenes-micro-stage4/final``. The weights are rounded to bfloat16.
"""

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from dcap.demo.models import TRAINED_FOLDER


def main() -> None:
    """Read ``sys.argv[1]``, the ``final`` folder of the run, and replace the files in the package."""
    final = Path(sys.argv[1])
    weights = load_file(final / "model" / "model.safetensors")
    TRAINED_FOLDER.mkdir(parents=True, exist_ok=True)
    rounded = {name: value.to(torch.bfloat16).contiguous() for name, value in weights.items()}
    save_file(rounded, TRAINED_FOLDER / "model.safetensors", {"format": "pt"})
    shutil.copyfile(final / "answer_profile.json", TRAINED_FOLDER / "answer_profile.json")


if __name__ == "__main__":
    main()
