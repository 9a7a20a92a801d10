"""Weight files: what they are called, how they are checked, and the one safe way a checkpoint is opened.

Getting them is download.py's part (resolve, fetch).

A checkpoint is untrusted input: nothing in it is ever run. What is accepted is safetensors, and torch.save files whose
pickle holds tensors and plain containers only (torch.load(weights_only=True); torch >= 2.6). A TorchScript archive is a
program: it is opened only when its sha256 is one its publisher gives. Limits: MAX_BYTES a file, MAX_TENSORS tensors,
MAX_DIMS dimensions, and no tensor larger than the file it came from.

    path = download.resolve(VGG19, args.weights_dir)    # DIR/vgg19.pth, or the usual cache, or a download
    state = weights.read_state(path)                    # {name: tensor}
    weights.match(model.state_dict(), state, path)      # UsageError naming the first keys that differ
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from common.errors import UsageError, one_line

if TYPE_CHECKING:  # named in annotations only
    import torch

ENDINGS = (".pth", ".pt", ".safetensors")
SUMS = "SHA256SUMS"  # in --weights-dir: written by --fetch-weights, checked by every run
WRAPPERS = ("state_dict", "model")  # {"state_dict": {name: tensor}, "epoch": ...} is unwrapped; nothing else is
MAX_BYTES = 32 * 2**30
MAX_TENSORS = 100_000
MAX_DIMS = 8
# in its package
STLPIPS_FILES = {net: f"stlpips_pytorch/weights/vST0.0/{net}_shift_tolerant.pth" for net in ("alex", "vgg")}


@dataclass(frozen=True)
class Source:
    """One place to get a file of weights from: an https address, or files of a Hugging Face repository."""

    url: str = ""  # https address of the file
    hub: str = ""  # or a Hugging Face repository, "timm/vit_base_patch16_224.dino"
    files: tuple[str, ...] = ("model.safetensors",)  # the names it may have in the repository, tried in this order
    sha256: str = ""  # as published, whole or its first digits; "" where none is published
    torchscript: bool = False  # a TorchScript archive, which is opened only with exactly this sha256

    def __str__(self):
        return f"https://huggingface.co/{self.hub} ({' or '.join(self.files)})" if self.hub else self.url

    def gave(self, path: Path) -> bool:
        """Whether a file can be from this source: that of its published sha256, or any where none is published."""
        return not self.sha256 or sha256(path).startswith(self.sha256)

    @property
    def file_names(self) -> tuple[str, ...]:
        """What the file may be called where it comes from: 'model.safetensors', 'vgg16-397923af.pth'."""
        return self.files if self.hub else (PurePosixPath(urlparse(self.url).path).name,)


@dataclass(frozen=True)
class Weights:
    """One file of weights: its name in --weights-dir, and the places it can be had from, the first one first.

    The sources need not hold the same bytes or keys: the builders in trunks.py know the layouts by their keys.
    """

    name: str  # stem of the file in --weights-dir: DIR/<name>.pth, .pt or .safetensors
    sources: tuple[Source, ...] = ()
    licence: str = ""
    citation: str = ""

    @property
    def origin(self) -> str:
        """Where the file comes from, the next source where one fails: as --list says it."""
        return ", else ".join(map(str, self.sources))

    @property
    def file_names(self) -> tuple[str, ...]:
        """What the file is to be called in --weights-dir, by source: ('clip_vitb32.pt', 'clip_vitb32.safetensors')."""
        return tuple(dict.fromkeys(self.name + ending(source.file_names[0]) for source in self.sources))

    @property
    def trusted(self) -> frozenset[str]:
        """The sha256 of the TorchScript archives that may be opened for it."""
        return frozenset(source.sha256 for source in self.sources if source.torchscript)


def ending(file_name):
    """The ending that a published file gets in --weights-dir: its own if it is one of ENDINGS, else .pth."""
    suffix = PurePosixPath(file_name).suffix
    return suffix if suffix in ENDINGS else ".pth"


# ---- finding


def candidates(weights, weights_dir) -> list[Path]:
    """The files that are `weights` by their names: `weights_dir`/<name>.pth, .pt and .safetensors, where they exist."""
    return [path for path in (Path(weights_dir, weights.name + ending) for ending in ENDINGS) if path.is_file()]


def find(weights, weights_dir, method="") -> Path:
    """`weights_dir`/<name>.pth, .pt or .safetensors, with the sha256 that SHA256SUMS there gives it, if any.

    method: what was asked for on the command line, for the message. Raises UsageError where there is no such file, more
    than one, or where it is not the one that SHA256SUMS lists.
    """
    folder = Path(weights_dir)
    if not folder.is_dir():
        raise UsageError(f"--weights-dir {folder}: no such folder")
    paths = candidates(weights, folder)
    if not paths:
        raise UsageError(
            f"{folder / weights.name}.pth: no such file (nor {' nor '.join(ENDINGS[1:])}); "
            + _how_to_get(weights, folder, method)
        )
    if len(paths) > 1:
        raise UsageError(f"{folder}: {' and '.join(p.name for p in paths)} are both there; keep the one to use")
    check_sum(paths[0])
    return paths[0]


def _how_to_get(weights, folder, method):
    """The remedy for a file that is not in --weights-dir: rename the one that lies there, or get it."""
    renames = {name: weights.name + ending(name) for source in weights.sources for name in source.file_names}
    for published, name in renames.items():
        if (folder / published).is_file():
            return f"{published} is there: if it is {weights.name}, rename it to {name}"
    rename = "; ".join(f"rename {published} to {name}" for published, name in renames.items())
    fetch = f"-m {method}`" if method else "-m` with the method that needs it"
    return (
        f"get it from {weights.origin} ({rename}), or by `python run.py --fetch-weights {folder} {fetch} "
        "where there is a network"
    )


def package_file(name: str) -> Path:
    """'lpips/weights/v0.1/alex.pth' -> Path of that file inside the installed package, which is not imported for it."""
    package, *parts = name.split("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"package {package}: not installed; pip install -r requirements.txt")
    path = Path(spec.submodule_search_locations[0], *parts)
    if not path.is_file():
        raise UsageError(f"{path}: missing from the package {package}; install the version that requirements.txt names")
    return path


def sha256(path: Path) -> str:
    """Hex digest of a file; computed once a process as long as its size and time of change stay."""
    status = os.stat(path)
    return _sha256(os.path.abspath(path), status.st_size, status.st_mtime_ns)


@functools.cache
def _sha256(path, size, mtime_ns):
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_published(weights, path) -> bool | None:
    """Whether `path` is a published file: True or False by its hash, None where that cannot be known, because a source
    of it has no published hash."""
    if any(source.sha256 and source.gave(path) for source in weights.sources):
        return True
    return False if weights.sources and all(source.sha256 for source in weights.sources) else None


# ---- SHA256SUMS, as sha256sum writes it and `sha256sum -c SHA256SUMS` checks it


def read_sums(folder) -> dict[str, str]:
    """{file name: sha256} of `folder`/SHA256SUMS; empty where there is none. UsageError for another kind of line."""
    path = Path(folder, SUMS)
    if not path.is_file():
        return {}
    sums = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        parts = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line)
        if not parts:
            raise UsageError(
                f"{path}, line {number}: expected '<sha256>  <file>', as sha256sum writes it; delete the file "
                "to do without the check"
            )
        sums[parts[2]] = parts[1].lower()
    return sums


def check_sum(path):
    """UsageError where SHA256SUMS beside the file lists it with another sha256."""
    listed = read_sums(path.parent).get(path.name)
    if listed and sha256(path) != listed:
        raise UsageError(
            f"{path}: sha256 {sha256(path)[:16]}..., but {SUMS} beside it says {listed[:16]}...: damaged or "
            "replaced; delete it and fetch it again, or delete its line there if the change was meant"
        )


def write_sums(folder, paths):
    """Add the sha256 of `paths`, files in `folder`, to `folder`/SHA256SUMS; lines of other files stay."""
    sums = read_sums(folder) | {path.name: sha256(path) for path in paths}
    part = Path(folder, f".{SUMS}.{os.getpid()}.part")
    part.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())), encoding="utf-8")
    os.replace(part, Path(folder, SUMS))


# ---- reading


def read_state(path: Path, trusted_torchscript: frozenset = frozenset()) -> dict[str, torch.Tensor]:
    """Open a checkpoint without running anything in it -> {name: CPU tensor} (memory-mapped where the format allows).

    trusted_torchscript: sha256 digests of the TorchScript archives that may be opened (OpenAI's CLIP files).
    Raises UsageError for what is no checkpoint (empty, git-LFS pointer, web page, half download), for one that needs
    code to be read, for one that is no dict of tensors, and beyond the limits above.
    """
    path = Path(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(512)
    if size == 0:
        raise UsageError(f"{path}: the file is empty (0 bytes); download it again")
    if size > MAX_BYTES:
        raise UsageError(
            f"{path}: {size / 2**30:.1f} GiB; expected a checkpoint of at most {MAX_BYTES / 2**30:.0f} GiB"
        )
    if head.startswith(b"version https://git-lfs"):
        raise UsageError(
            f"{path}: a git-LFS pointer, not the weights; run `git lfs pull` there, or download the file itself"
        )
    if head.lstrip()[:1] == b"<":
        raise UsageError(
            f"{path}: a web page (begins with {head.lstrip()[:15].decode('latin-1')!r}), not the weights; "
            "download the file itself"
        )
    if path.suffix == ".safetensors" and head[8:9] != b"{":  # torch.load goes by the name
        raise UsageError(f"{path}: named .safetensors, but it is none; if torch.save wrote it, rename it to .pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's remarks on old formats; what matters here is an error
        if head[8:9] == b"{":
            state = _read_safetensors(path, head, size)
        elif head.startswith(b"PK"):
            state = _read_zip(path, size, trusted_torchscript)
        else:
            state = _read_pickle(path, mmap=False)  # torch.save before 1.6, as torchvision's older files are
    return _checked(path, state, size)


def _read_safetensors(path, head, size):
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    header = int.from_bytes(head[:8], "little")
    if header > size - 8:
        raise UsageError(
            f"{path}: half a download, or damaged (a header of {header} bytes, a file of {size}); download it again"
        )
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise UsageError(f"{path}: half a download, or damaged ({one_line(error)[:150]}); download it again") from None


def _read_zip(path, size, trusted_torchscript):
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise UsageError(
            f"{path}: half a download, or damaged (a zip archive without its end); download it again"
        ) from None
    if sum(entry.file_size for entry in entries) > size:  # torch.save stores, it never compresses
        raise UsageError(f"{path}: refused: a compressed archive; torch.save writes none")
    if any(re.search(r"(^|/)(code/|constants\.pkl$)", entry.filename) for entry in entries):
        if sha256(path) not in trusted_torchscript:
            raise UsageError(
                f"{path}: refused: a TorchScript archive is a program, and its sha256 {sha256(path)[:16]}... is "
                'none of those published for this model. If you trust it, convert it elsewhere: python -c "import '
                "torch; torch.save(dict(torch.jit.load('IN.pt', 'cpu').state_dict()), 'OUT.pth')\""
            )
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
    return _read_pickle(path, mmap=True)


def _read_pickle(path, mmap):
    import pickle

    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        refusal = re.search(r"WeightsUnpickler error: (.{1,120})", one_line(error)) or re.search(
            r"(.{1,120})", one_line(error)
        )
        raise UsageError(
            f"{path}: refused: no checkpoint, or one that needs code to be read ({refusal[1]}); save its tensors alone "
            "(torch.save(model.state_dict(), 'OUT.pth')) where you trust it"
        ) from None
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # torch.load raises what its parsers raise: EOFError, RuntimeError, KeyError, struct.error ...
        raise UsageError(f"{path}: half a download, or damaged ({one_line(error)[:150]}); download it again") from None


def _checked(path, state, size):
    """The tensors of a loaded checkpoint, after the limits: a plain dict, wrappers removed."""
    import torch

    for wrapper in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not state:
        raise UsageError(
            f"{path}: expected a dict of tensors, found {'an empty one' if state == {} else type(state).__name__}"
        )
    if len(state) > MAX_TENSORS:
        raise UsageError(f"{path}: {len(state)} tensors; expected at most {MAX_TENSORS}")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise UsageError(f"{path}: expected a dict of tensors, found {type(value).__name__} under {key!r}")
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise UsageError(f"{path}: {key}: expected a plain dense tensor, found {value.layout} on {value.device}")
        if value.dim() > MAX_DIMS or value.numel() * value.element_size() > size:
            raise UsageError(f"{path}: {key}: absurd shape {tuple(value.shape)} for a file of {size} bytes")
    return dict(state)


def match(expected, state, what):
    """Check that a checkpoint fits a model before it is loaded: same keys, same shapes.

    expected: the model's state_dict(), or {name: shape}; state: {name: tensor}; what: the file, for the message.
    Raises UsageError.
    """
    if mismatch := differences(expected, state):
        raise UsageError(f"{what}: not the weights of this architecture; {mismatch}")


def differences(expected: dict, state: dict) -> str:
    """The first keys and shapes in which a checkpoint differs from a model's (see match); "" where it fits.

    BatchNorm's num_batches_tracked may be missing (old files lack it; it is not used in eval mode).
    """
    shape = {key: tuple(getattr(value, "shape", value)) for key, value in expected.items()}
    missing = [k for k in shape if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in shape]
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    other = [f"{k} {shapes[k]} instead of {shape[k]}" for k in shape if k in shapes and shapes[k] != shape[k]]
    faults = [
        f"{name}: {', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
        for name, keys in (("missing", missing), ("unexpected", unexpected), ("shape", other))
        if keys
    ]
    return "; ".join(faults)
