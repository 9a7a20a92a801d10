"""What memory that runs out and numbers that are none do to a run:
batches are halved, or it stops with the pair's name."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from small_dataset import call, finished, make, refused

from methods import build
from scoring.engine import out_of_memory

ALEXNET = "-m st_alexnet -d l2 cos --window 64 --device cpu".split()


@pytest.fixture
def tiny(tmp_path):
    return ["-dat", make(tmp_path / "data"), *ALEXNET, "-sdir", tmp_path / "out"]


@pytest.fixture
def backbone(monkeypatch):
    """backbone(change): from now on a loaded backbone is change(features function)."""
    load = build.load_backbone

    def put(change):
        monkeypatch.setattr(build, "load_backbone", lambda model: change(load(model)))

    return put


def scores(folder):
    result = {}
    for path in sorted(folder.glob("tiny_*.csv")):
        with open(path, newline="") as file:
            result[path.name] = np.array([float(row["pred"]) for row in csv.DictReader(file)])
    return result


# ---- memory


def cuda_is_full():
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def cpu_is_full():
    return RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory")


def holds(most, error):
    """A change of a backbone: it has memory for `most` windows at once."""

    def change(features):
        def limited(x):
            if len(x) > most:
                raise error()
            return features(x)

        return limited

    return change


def test_what_lack_of_memory_is_told_by():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)  # the CPU's allocator has no exception of its own
    for error in (caught.value, cuda_is_full(), MemoryError(), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")):
        assert out_of_memory(error)
    assert not out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.numeric
@pytest.mark.parametrize("error", [cuda_is_full, cpu_is_full])
def test_batches_are_halved_with_a_warning_and_scores_stay(error, tiny, tmp_path, capsys, backbone):
    assert call(capsys, *tiny[:-1], tmp_path / "whole")[0] == 0
    backbone(holds(1, error))
    code, _, message = call(capsys, *tiny)
    assert code == 0
    assert [
        line for line in message.splitlines() if "out of memory" in line
    ] == [  # not for each batch; the references come first
        "warning: out of memory on cpu: batches of 4 are halved to 2; scores stay within 1e-5",
        "warning: out of memory on cpu: batches of 2 are halved to 1; scores stay within 1e-5",
    ]
    halved, whole = scores(tmp_path / "out"), scores(tmp_path / "whole")
    assert len(whole) == 2 and all(np.allclose(halved[name], whole[name], rtol=1e-5, atol=0) for name in whole)


def test_no_memory_for_a_single_window(tiny, tmp_path, capsys, backbone):
    backbone(holds(0, cuda_is_full))
    line = refused(capsys, *tiny, code=1)
    assert "out of memory on cpu with a single window" in line and "--device" in line
    assert not scores(tmp_path / "out")


def test_other_errors_are_not_taken_for_it(tiny, capsys, backbone):
    backbone(holds(3, lambda: RuntimeError("shapes do not match")))
    code, _, message = call(capsys, *tiny)
    assert code == 1 and "unexpected RuntimeError: shapes do not match" in message and "halved" not in message


# ---- numbers that are none


def spoil(path):
    """Mark an image: what it gives is made NaN or infinite below."""
    image = Image.open(path).convert("RGB")
    image.putpixel((0, 0), (255, 0, 255))
    image.putpixel((8, 0), (255, 0, 255))  # also where a window that starts later begins
    image.save(path)


def poisoned(value):
    def change(features):
        def some(x):
            f = features(x)
            marked = (x[:, 0, 0, 0] == 1) & (x[:, 1, 0, 0] == 0) & (x[:, 2, 0, 0] == 1)
            f.blocks[2][marked, 3, 1, 1] = value
            return f

        return some

    return change


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["d6.png", "r1.png"])
def test_a_feature_that_is_no_number_stops_the_run_with_the_pair_s_name(value, name, tiny, tmp_path, capsys, backbone):
    spoil(tmp_path / "data" / name)
    backbone(poisoned(value))
    line = refused(capsys, *tiny, "--batch-size", "1", code=1)
    assert (
        f"{tmp_path / 'data' / name} under none: a feature of st_alexnet-window64-stride200 is NaN or infinite" in line
    )
    assert not scores(tmp_path / "out") and not (tmp_path / "out/correlations.csv").exists()
    rows = "".join(path.read_text() for path in (tmp_path / "out").glob("*.csv.partial"))
    assert name[0] == "r" or "d0.png" in rows  # what came before is kept; both references come before all
    assert "d6.png" not in rows and "nan" not in rows and "inf" not in rows
    backbone(lambda features: features)
    assert call(capsys, *tiny, "--batch-size", "1")[0] == 0 and len(finished(tmp_path / "out")) == 5


def test_overflow_in_float16_tells_to_use_fp32(tiny, tmp_path, capsys, backbone):
    backbone(lambda features: lambda x: features(x * 1e5))  # beyond 65504, where float16 ends
    line = refused(capsys, *tiny, "--precision", "fp16", code=1)
    assert "is NaN or infinite in precision fp16" in line and "use --precision fp32" in line
    assert not scores(tmp_path / "out")
    backbone(lambda features: lambda x: features(x * float("nan")))
    line = refused(capsys, *tiny, "--overwrite", "--precision", "fp32", code=1)
    assert "check the weights" in line and "use --precision" not in line


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_score_that_is_no_number(value, tmp_path, capsys):
    data = make(tmp_path / "data")
    spoil(tmp_path / "data/d6.png")
    (tmp_path / "mine.py").write_text(
        "def far(reference, distorted):\n    marked = distorted[:, 0, 0].tolist() == [1, 0, 1]\n"
        f"    return float('{value}') if marked else (reference - distorted).abs().mean()\n"
    )
    flags = ["-dat", data, "-m", f"{tmp_path / 'mine.py'}:far", "-sdir", tmp_path / "out", "--batch-size", "1"]
    line = refused(capsys, *flags, code=1)
    assert f"{tmp_path / 'data/d6.png'} under none: the score mine-far of mine-far is NaN or infinite" in line
    assert "leave out that pair or that method" in line and "weights" not in line and "--precision" not in line
    assert not scores(tmp_path / "out") and value not in (tmp_path / "out/tiny_mine-far.csv.partial").read_text()
