"""The machine: what it has, how dcap uses it, and what is missing. Nothing here needs torch."""

from __future__ import annotations

import importlib.util
import os
import platform
from typing import Any

from dcap import __version__
from dcap.core.cpus import usable_cores
from dcap.core.packages import install_command, requirements

FLASH_ATTN_INSTALL = "pip install flash-attn --no-build-isolation"
_RUN_EXTRAS = ("", "train", "demo", "formats", "quantized")


def examine_machine() -> dict[str, Any]:
    """Return everything that ``dcap doctor`` knows, ready for JSON. ``advice`` lists possible improvements."""
    report: dict[str, Any] = {
        "dcap": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "kernels": _kernels(),
        "packages": [requirement._asdict() for requirement in requirements() if requirement.extra in _RUN_EXTRAS],
        **_torch(),
    }
    report["threads"] = _threads() | report["threads"]
    report["advice"] = _advice(report)
    return report


def _kernels() -> dict[str, Any]:
    """Which backend runs the geometry, and why that one."""
    forced = os.environ.get("DCAP_BACKEND")
    try:
        from dcap.kernels import BACKEND
    except ImportError as error:
        return {"backend": None, "why": f"cannot be loaded: {error}", "has_core": False}
    has_core = importlib.util.find_spec("dcap._core") is not None
    if forced:
        why = f"forced by DCAP_BACKEND={forced}"
    elif has_core:
        why = "the compiled core is part of this install"
    else:
        why = "this install has no compiled core: no compiler was found, or none that could build it"
    return {"backend": BACKEND, "why": why, "has_core": has_core}


def gpu_memories() -> list[float]:
    """Return the memory of each CUDA GPU in GiB; none where torch cannot be loaded."""
    try:
        import torch
    except (ImportError, OSError):  # OSError: a CUDA library of another version
        return []
    return [_gib(torch.cuda.get_device_properties(index)) for index in range(torch.cuda.device_count())]


def _gib(properties: Any) -> float:
    return round(float(properties.total_memory) / 2**30, 1)


def _torch() -> dict[str, Any]:
    """What torch offers: attention kernels, GPUs and its threads."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a CUDA library of another version
        return {"attention": [], "auto_attention": f"none, torch cannot be loaded: {error}", "gpus": [], "threads": {}}
    gpus = []
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        gpus.append(
            {"name": found.name, "memory_gib": _gib(found), "compute_capability": f"{found.major}.{found.minor}"}
        )
    return {
        "attention": _attention(bool(gpus)),
        "auto_attention": _auto_attention("cuda" if gpus else "cpu"),
        "gpus": gpus,
        "cuda": torch.version.cuda,
        "threads": _torch_threads(),
    }


def _torch_threads() -> dict[str, Any]:
    """How many threads `dcap train` and `dcap predict` give torch on the CPU."""
    try:
        from dcap.model.cpu_threads import SMALL_HIDDEN_SIZE, cpu_threads
    except ModuleNotFoundError:  # torch without the rest of the train extra
        return {}
    return {"torch": cpu_threads(None), "torch_small_models": cpu_threads(SMALL_HIDDEN_SIZE)}


def _attention(has_gpu: bool) -> list[dict[str, Any]]:
    """The values of ``model.attention``, in the order in which ``auto`` prefers them."""
    no_gpu = "" if has_gpu else "needs a CUDA GPU, and none is seen"
    flash = _import_problem("flash_attn") or no_gpu
    varlen = _import_problem("torch.nn.attention.varlen") or no_gpu
    return [
        {"name": "flash_attention_2", "usable": not flash, "why": flash or "the flash-attn package"},
        {"name": "varlen", "usable": not varlen, "why": varlen or "part of torch"},
        {"name": "segments", "usable": True, "why": "torch's SDPA, each packed sample by itself"},
    ]


def _auto_attention(device: str) -> str:
    """Return the kernel that ``attention: auto`` takes on `device` for a model in bfloat16."""
    import torch

    try:
        from dcap.model.attention import choose_attention

        return choose_attention("auto", torch.device(device), torch.bfloat16)
    except ModuleNotFoundError as error:  # torch without the rest of the train extra
        return f"none, {error}"


def _import_problem(module: str) -> str:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return "not installed"
    except (ImportError, OSError) as error:  # built for another torch or CUDA
        return f"cannot be loaded: {error}"
    return ""


def _threads() -> dict[str, Any]:
    import cv2
    import numba

    return {
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "numba": numba.config.NUMBA_NUM_THREADS,
        "opencv": cv2.getNumThreads(),
    }


def _advice(report: dict[str, Any]) -> list[str]:
    advice = []
    if not report["kernels"]["has_core"]:
        advice.append(
            "The C++ core is missing. Install GCC 11 or newer (Debian, Ubuntu: apt-get install g++), then: "
            "pip install --force-reinstall --no-deps --no-cache-dir dcap (or . in a source tree)"
        )
    for extra in _RUN_EXTRAS[1:]:
        missing = [p["name"] for p in report["packages"] if p["extra"] == extra and not p["installed"]]
        if missing:
            advice.append(f"{', '.join(missing)} not installed. Run: {install_command(extra)}")
    if report["gpus"] and report["auto_attention"] != "flash_attention_2":
        advice.append(
            f"Optional, for the fastest packed attention: {FLASH_ATTN_INSTALL} (after torch, with nvcc and "
            "CUDA_HOME). It is no extra of dcap because it compiles against the torch that is there."
        )
    return advice
