"""Building a network whose weights come from a file:
its random initial values, of which none would be left, are not drawn.

    with unfilled() as left:
        model = build()          # reads the file
    left(model)                  # [] or the names of the parameters that no file has filled

To draw the 86 million of a ViT-B takes longer than to import it and read its file.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode

DRAWS = (
    "uniform_",
    "normal_",
    "trunc_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
    "xavier_uniform_",
    "xavier_normal_",
    "orthogonal_",
)
SHAPING = ("erfinv_", "mul_", "add_", "clamp_")  # what timm makes a truncated normal of


def version(tensor):
    """How often a tensor has been written; None where torch does not count."""
    return None if tensor.is_inference() else tensor._version


class Undrawn(TorchFunctionMode):
    """Leaves a tensor as it was allocated where a random initialiser would fill it;
    remembers it, and its version then."""

    def __init__(self):
        super().__init__()
        self.tensors = {}

    def __torch_function__(self, function, types, arguments=(), options=None):
        options, name = options or {}, getattr(function, "__name__", "")
        if name in DRAWS or name in SHAPING:
            tensor = arguments[0] if arguments else options["tensor"]
            if name in DRAWS:
                self.tensors[id(tensor)] = tensor, version(tensor)
            if id(tensor) in self.tensors:
                return tensor
        return function(*arguments, **options)

    def left(self, module):
        """Names of the module's parameters that were left as they were allocated and have not been written since."""
        return [name for name, parameter in module.named_parameters() if self.as_allocated(parameter)]

    def as_allocated(self, parameter):
        _, before = self.tensors.get(id(parameter), (None, None))
        return before is not None and before == version(parameter)


@contextmanager
def unfilled() -> Iterator[Callable]:
    """In here random initialisers do nothing -> left(module), to be asked when its file has been read."""
    with torch.no_grad(), Undrawn() as mode:
        yield mode.left
