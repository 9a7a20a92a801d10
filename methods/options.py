"""The options that decide a score, declared once for every script that scores images,
and the models that they ask for."""

import argparse
import re
from collections.abc import Sequence

from common.errors import UsageError
from common.terminal import positive, side
from distances import DISTANCES
from methods import fused
from methods.build import build, is_column, pass_of, with_columns
from methods.fused import Fused
from methods.model import ALIGN, AUTO, PROTOCOLS, Model, Options
from models import PRECISIONS
from networks.weights import Weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of what decides a score."""
    usual, what = Options(), parser.add_argument_group("which scores, and how")
    what.add_argument(
        "-m",
        "--model",
        nargs="+",
        default=[],
        metavar="NAME",
        help="methods (python run.py --list): backbones, embed_<backbone>, metrics, pyiqa:NAME, my_metric.py:function, "
        "fused2, 'A * B^k' of score columns",
    )
    what.add_argument(
        "-d", "--distance", nargs="+", default=[], metavar="NAME", help=" ".join(DISTANCES) + "; for backbones"
    )
    what.add_argument("-r", "--resizeHW", type=side, metavar="N", help="resize both images to N x N first")
    what.add_argument(
        "--weights-dir", metavar="DIR", help="use DIR/<backbone>.pth (.pt, .safetensors) and download nothing"
    )
    what.add_argument(
        "--weights",
        choices=("pretrained", "random"),
        default=usual.weights,
        help="random: seeded, for trying things out",
    )
    what.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    what.add_argument(
        "--precision",
        choices=(*PRECISIONS, AUTO),
        default=usual.precision,
        help="paper: float16 where the authors had it (OpenAI CLIP); auto: by a timed trial",
    )
    what.add_argument(
        "--protocol", choices=PROTOCOLS, default=usual.protocol, help="corrected: the methods with their defects mended"
    )
    what.add_argument(
        "--normalize",
        choices=("none", "imagenet", "model"),
        default=usual.normalize,
        help="mean and std of the input (paper: none)",
    )
    seen = what.add_mutually_exclusive_group()
    seen.add_argument(
        "--window", type=side, default=usual.window, metavar="N", help=f"side of a window (default: {usual.window})"
    )
    seen.add_argument(
        "--whole", dest="window", action="store_const", const=None, help="the whole image instead of windows"
    )
    what.add_argument(
        "--stride",
        type=positive,
        default=usual.stride,
        metavar="N",
        help=f"distance of windows (default: {usual.stride})",
    )
    what.add_argument("--layers", type=layer_list, metavar="LIST", help="blocks to use, such as 0-5,11 (default: all)")
    what.add_argument(
        "--align",
        choices=ALIGN,
        default=usual.align,
        help="undo a small shift, or a shift, turn and change of scale, before scoring (docs/align.md)",
    )
    what.add_argument("--batch-size", type=batch_size, metavar="N", help="windows at once, or auto (default)")


def batch_size(text):
    return None if text == "auto" else positive(text)


MOST_BLOCKS = 1000  # no backbone has so many


def layer_list(text: str) -> tuple[int, ...]:
    try:
        spans = [[int(n) for n in part.split("-")] for part in text.split(",")]
        if any(n >= MOST_BLOCKS for span in spans for n in span):
            raise ValueError
        blocks = sorted({n for span in spans for n in range(span[0], span[-1] + 1)})
        if not blocks or any(len(s) > 2 or s[-1] < s[0] for s in spans):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected block numbers such as 0-5,11, found {text!r}") from None
    return tuple(blocks)


def check_device(name: str) -> None:
    """UsageError for what is no device's name; whether it is there is seen by `pick_device`."""
    if not re.fullmatch("auto|cpu|cuda(:[0-9]{1,3})?", name):
        raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:N")


def pick_device(name: str) -> str:
    """'auto', 'cpu', 'cuda' or 'cuda:N' -> the device to use. UsageError for another, or one that is not there."""
    check_device(name)
    if name == "cpu":
        return name
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: {torch.cuda.device_count()} CUDA devices are there; use --device cpu")
    return name


def models_of(names: Sequence[str], distances: Sequence[str], options: Options) -> tuple[list[Model], list[Fused]]:
    """What -m and -d name -> ([Model], [fused.Fused]), factors of fused metrics included, nothing loaded.

    names: methods, fused metrics, and score columns as their files are named ("dinov1_l2", which takes no -d). Raises
    UsageError.
    """
    if not names:
        raise UsageError("-m: expected one or more methods, such as dinov1 or psnr (see python run.py --list)")
    plain, fusions = fused.split(names)
    columns = [name for name in plain if is_column(name)]
    models = build([name for name in plain if name not in columns], distances, options)
    models = with_columns(models, columns + [f for fusion in fusions for f in fusion.factors], options)
    if not any(column.distance for model in models for column in model.columns):
        usual = Options()
        for name in ("layers", "per_layer", "normalize", "window", "stride"):
            if getattr(options, name) != getattr(usual, name):
                flag = "--whole" if name == "window" and options.window is None else f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag}: expected a backbone, found {', '.join(names)}, which it does not change")
    return models, fusions


def needed_weights(names: Sequence[str]) -> list[Weights]:
    """The weight files that methods, score columns and fused metrics need, each once."""
    if not names:
        raise UsageError("--fetch-weights: expected -m with the methods whose weights are needed (see --list)")
    plain, _ = fused.split(names)
    takes_distance = any(not is_column(name) and pass_of(name)[0] == "backbone" for name in plain)
    models, _ = models_of(names, ["cos"] if takes_distance else [], Options())
    return list(dict.fromkeys(weights for model in models for weights in model.weights))
