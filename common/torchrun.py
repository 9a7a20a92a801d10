"""Several processes under torchrun: each takes its share of the references, the first joins their shards.

torchrun --nproc-per-node 4 run.py -dat pipal -m dinov1 -d l2
"""

import os
from datetime import timedelta

from common.errors import UsageError


def world() -> tuple[int, int]:
    """(rank, number of processes); (0, 1) without torchrun."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def first() -> bool:
    """Whether this is the process that reports: rank 0, or the only one."""
    return world()[0] == 0


def start(device: str) -> str:
    """Join the group -> this process's device: cuda becomes cuda:LOCAL_RANK."""
    if world()[1] == 1:
        return device
    import torch

    cuda, local = device.startswith("cuda"), int(os.environ.get("LOCAL_RANK", 0))
    if cuda:
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"torchrun: {local + 1} or more processes, but {torch.cuda.device_count()} CUDA devices here; use as "
                "many --nproc-per-node, or --device cpu"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    # Processes may end hours apart, when one has less left to do than the others
    torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(days=30))
    return device


def barrier() -> None:
    """Wait for all processes, if there are several."""
    if world()[1] > 1:
        import torch

        torch.distributed.barrier()


def together(items: list) -> list:
    """The items of all processes' lists, each once."""
    lists = [items] * world()[1]
    if len(lists) > 1:
        import torch

        torch.distributed.all_gather_object(lists, items)
    return list(dict.fromkeys(item for share in lists for item in share))


def stop() -> None:
    """Leave the group, if there is one."""
    if world()[1] > 1:
        import torch

        torch.distributed.destroy_process_group()
