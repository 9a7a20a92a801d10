"""A CUDA device without one: torch's fake tensors carry a device and a shape and compute nothing, and an operation
between tensors of two devices fails as it does on a GPU."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

import models
from networks import weights
from scoring import engine


class FakeDevice(FakeTensorMode):
    """Fake tensors of which a number may be asked, as checks of a range do: yes, or 0."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default):
            dtype = arguments[0].dtype
            return True if dtype == torch.bool else 0.0 if dtype.is_floating_point else 0
        return super().__torch_dispatch__(function, types, arguments, options)


@contextmanager
def fake_cuda(monkeypatch):
    """In here `cuda` is a device of fake tensors, and what the engine fetches from it is ones.

    Backbones are built and files read for real, on the CPU; a module that is sent to the device has its parameters
    replaced by fake ones there. What a module keeps as a plain attribute stays where it is, as it does on a GPU.
    """

    def real(function):
        def call(*arguments, **options):
            with unset_fake_temporarily():
                return function(*arguments, **options)

        return call

    def apply(module, function, recurse=True):
        for child in module.children():
            child._apply(function)
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(function(parameter.detach()), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = function(buffer)
        return module

    def fetch(tensor):
        assert tensor.device.type == "cuda", f"the engine fetched a tensor that lies on {tensor.device}"
        return np.ones(tensor.shape)

    with monkeypatch.context() as patch:
        for name, entry in models.BACKBONES.items():
            patch.setitem(models.BACKBONES, name, replace(entry, build=real(entry.build)))
        patch.setattr(weights, "read_state", real(weights.read_state))
        patch.setattr(torch.nn.Module, "_apply", apply)
        patch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)  # takes a driver
        patch.setattr(engine, "fetch", fetch)
        with FakeDevice(allow_non_fake_inputs=True):
            yield
