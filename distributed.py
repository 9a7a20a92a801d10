"""Several processes under torchrun: each takes its share of the references, the first joins their shards.

    torchrun --nproc-per-node 4 run.py -dat pipal -m dinov1 -d l2
"""
import os


def world():
    """(rank, number of processes); (0, 1) without torchrun."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def first():
    return world()[0] == 0


def start(device):
    """Join the group -> this process's device: cuda becomes cuda:LOCAL_RANK."""
    if world()[1] == 1:
        return device
    import torch
    cuda = device.startswith("cuda")
    if cuda:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    return device


def barrier():
    """Wait for all processes, if there are several."""
    import sys
    if world()[1] > 1:
        sys.modules["torch"].distributed.barrier()


def stop():
    import sys
    if world()[1] > 1:
        sys.modules["torch"].distributed.destroy_process_group()
