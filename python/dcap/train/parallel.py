"""How ranks train together: each holds the whole model (DDP), or a part of every weight (FSDP).

::

    training.parallel   weights, gradients, moments of a rank     exchanged in a step
    ddp                 all                                       the gradients, once
    fsdp                1/N of each                               each layer's weights, before it runs; its gradients

FSDP is torch's own ``fully_shard``. Every vision block and every layer of the language model is a group, whose weights
come together for its forward and for its backward pass. All else is one more group: the embedding with the head that
may be tied to it, norms and aligner.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import DistributedType
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from dcap.core.errors import ConfigError
from dcap.model.lora import layers
from dcap.train.config import RunConfig, TrainingConfig
from dcap.train.loss import SupervisedLoss


def build_accelerator(config: RunConfig) -> Accelerator:
    """Return the Accelerator, which knows ranks and devices; dcap itself decides how the ranks share the work.

    Raises:
        ConfigError: Accelerate was configured for DeepSpeed, FSDP or another engine, or for its own mixed precision; it
            does not see the other processes of a launch; or one process is to share its weights out.
    """
    # Before an Accelerator is made: on CPUs it would ignore FSDP without a word, and it needs the package of DeepSpeed.
    _check_asked(os.environ)
    # Rows of text alone leave the vision side without gradients, which DDP must then look for.
    sees_vision = not (config.model.freeze_vit and config.model.freeze_aligner)
    ddp = DistributedDataParallelKwargs(find_unused_parameters=sees_vision, broadcast_buffers=False)
    # Without this, the processes of a launch on a machine without accelerators would each make a run of their own.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available(), kwargs_handlers=[ddp])
    launched = int(os.environ.get("WORLD_SIZE") or 1)
    if launched > 1 and accelerator.num_processes == 1:
        raise ConfigError(
            f"the {launched} processes of a launch (WORLD_SIZE) must work together, but accelerate sees this one "
            f"alone, on {accelerator.device}. Start them with torchrun or accelerate launch; for CPUs on a machine "
            "with other devices, set ACCELERATE_USE_CPU=true"
        )
    engine = accelerator.distributed_type
    if engine not in (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU):
        raise ConfigError(f"{_ACCELERATE}, not {engine.value}. Run accelerate config again for multi-GPU")
    if accelerator.mixed_precision != "no":
        raise ConfigError(
            f"accelerate's mixed_precision must be no, not {accelerator.mixed_precision}: model.dtype decides. "
            "Pass --mixed_precision no"
        )
    if config.training.parallel == "fsdp" and accelerator.num_processes == 1:
        raise ConfigError(
            "training.parallel must be ddp for one process, which has nobody to share its weights with, not fsdp. "
            "Start several with torchrun or accelerate launch --multi_gpu (accelerate launch --cpu starts one alone), "
            "or set training.parallel=ddp"
        )
    return accelerator


_ACCELERATE = "accelerate must be configured for one process or for plain data parallelism"
_DDP, _FSDP = "training.parallel=ddp", "training.parallel=fsdp"
_FSDP_KEPT = f"{_FSDP} training.fsdp_reshard=false"


def _check_asked(env: Mapping[str, str]) -> None:
    """Refuse an engine that accelerate was told to use, and name the setting that does what it would do."""
    if env.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        engine, instead, offloads = "FSDP", _instead_of_fsdp(env), [env.get("FSDP_OFFLOAD_PARAMS")]
    elif env.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        names = ("OPTIMIZER", "PARAM")
        engine, instead = "DeepSpeed", _instead_of_deepspeed(env)
        offloads = [env.get(f"ACCELERATE_DEEPSPEED_OFFLOAD_{name}_DEVICE") for name in names]
    else:
        return
    lost = any((each or "none").lower() not in ("none", "false") for each in offloads)
    raise ConfigError(
        f"{_ACCELERATE}, not {engine}. Pass --multi_gpu, or run accelerate config again without it, and set {instead}"
        f"{'. Weights stay on their device: there is no offloading' if lost else ''}"
    )


def _instead_of_fsdp(env: Mapping[str, str]) -> str:
    strategy = env.get("FSDP_SHARDING_STRATEGY", "").upper()
    if strategy in ("NO_SHARD", "3"):
        return _DDP
    kept = strategy in ("SHARD_GRAD_OP", "2") or env.get("FSDP_RESHARD_AFTER_FORWARD", "").lower() == "false"
    return _FSDP_KEPT if kept else _FSDP


def _instead_of_deepspeed(env: Mapping[str, str]) -> str:
    stages = {"0": _DDP, "1": _FSDP_KEPT, "2": _FSDP_KEPT, "3": _FSDP}
    file = env.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    stage = env.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "") if file.lower() == "none" else ""
    return stages.get(stage, f"{_FSDP} for ZeRO-3, {_FSDP_KEPT} for ZeRO-1 and ZeRO-2")


def distribute(module: SupervisedLoss, accelerator: Accelerator, training: TrainingConfig) -> Any:
    """Return the module that ranks train together; all must call it.

    The weights of all ranks become those of the first one. With ``fsdp`` the parameters are others afterwards: take
    them from the module that is returned.

    Args:
        module: On the device of this rank.
        accelerator: The ranks.
        training: Says how they share the work.
    """
    if training.parallel == "ddp":
        return accelerator.prepare_model(module)
    for parameter in module.parameters():
        torch.distributed.broadcast(parameter.detach(), src=0)
    module.shares_weights = True
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for layer in layers(module.model):
        fully_shard(layer, mesh=mesh, reshard_after_forward=training.fsdp_reshard)
    # The rest stays one group: a head that is tied to the embedding must be in its group, and torch 2.13 crashes in the
    # backward pass where the last norm is in a group with these two alone.
    return fully_shard(module, mesh=mesh)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return all of a tensor of which each rank may hold a part.

    All ranks must ask for the same tensors in the same order. The first one gets it, in the memory of the host; the
    others get an empty tensor. A tensor that each rank has whole is returned as it is.
    """
    tensor = tensor.detach()
    if not isinstance(tensor, DTensor):
        return tensor
    full = tensor.full_tensor()
    return full.cpu() if tensor.device_mesh.get_rank() == 0 else full.new_empty(0)


def spread(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return a tensor as `like` is held: this rank's part of it, or all of it, on the device of `like`.

    Args:
        tensor: All of it, the same on every rank.
        like: Of the same shape.
    """
    if not isinstance(like, DTensor):
        return tensor.to(like.device)
    # A copy, so that the part does not keep all of the tensor in memory.
    parts = distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)
    return torch.empty_like(parts).copy_(parts)
