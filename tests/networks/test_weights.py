"""networks/weights.py: files are found and checked, nothing in them is run, broken ones are told apart."""

import hashlib
import os
import pickle
import re
import subprocess
import sys
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import ROOT
from safetensors.torch import save_file

from common.errors import UsageError
from networks import weights
from networks.weights import Source, Weights, find, match, read_state

STATE = {"layer.weight": torch.arange(12.0).reshape(3, 4), "layer.bias": torch.ones(3), "steps": torch.tensor(7)}


def save_zip(state, path):
    torch.save(state, path)


def save_legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


FORMATS = {"zip": save_zip, "legacy": save_legacy, "safetensors": save_file}


def same(state):
    return state.keys() == STATE.keys() and all(torch.equal(state[k], STATE[k]) for k in STATE)


# ---- finding


@pytest.mark.parametrize("ending", weights.ENDINGS)
def test_find_takes_any_ending(tmp_path, ending):
    path = tmp_path / f"vgg19{ending}"
    path.write_bytes(b"x")
    (tmp_path / "vgg16.pth").write_bytes(b"x")
    assert find(Weights("vgg19"), tmp_path) == path


def test_find_names_file_sources_and_remedy(tmp_path):
    some = Weights("some", (Source("https://example.org/some-0.pth"), Source(hub="timm/some_model")))
    with pytest.raises(
        UsageError,
        match=r"some\.pth: no such file \(nor \.pt nor \.safetensors\); get it from https://example\.org/some-0\.pth, "
        r"else https://huggingface\.co/timm/some_model.*rename model\.safetensors to some\.safetensors.*"
        rf"--fetch-weights {tmp_path} -m embed_some`",
    ):
        find(some, tmp_path, "embed_some")
    with pytest.raises(UsageError, match="--fetch-weights .* -m` with the method that needs it") as message:
        find(some, tmp_path)
    assert "METHOD" not in str(message.value)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UsageError, match="model.safetensors is there: if it is some, rename it to some.safetensors$"):
        find(some, tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        find(some, tmp_path / "none")


def test_an_empty_folder_names_the_method_asked_for(tmp_path):
    """Through the command line: the method as it was typed, not the file that it needs."""
    for method, distance in (("embed_clip_vitb32", ["-d", "cos"]), ("deep_kld_vgg", [])):
        done = subprocess.run(
            [
                sys.executable,
                ROOT / "run.py",
                "-dat",
                "demo",
                "-m",
                method,
                *distance,
                "--weights-dir",
                tmp_path,
                "--device",
                "cpu",
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        assert f"--fetch-weights {tmp_path} -m {method}`" in done.stderr


def test_find_refuses_two_candidates(tmp_path):
    for ending in (".pt", ".pth"):
        (tmp_path / f"vgg19{ending}").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"vgg19\.pth and vgg19\.pt are both there"):
        find(Weights("vgg19"), tmp_path)


def test_sha256_is_computed_once_and_again_after_a_change(tmp_path, monkeypatch):
    path, calls = tmp_path / "a.pth", []
    path.write_bytes(b"one")
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: calls.append(1) or real(*a))
    assert weights.sha256(path) == weights.sha256(path) == hashlib.sha256(b"one").hexdigest()
    assert len(calls) == 1
    path.write_bytes(b"other")
    assert weights.sha256(path) == hashlib.sha256(b"other").hexdigest()


def test_what_is_published_is_known_by_its_hash(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"one")
    this, other, unknown = Source("a", sha256=weights.sha256(path)[:8]), Source("b", sha256="00000000"), Source("c")
    for sources, message in (
        ((this,), True),
        ((other, this), True),
        ((unknown, this), True),
        ((other,), False),
        ((other, unknown), None),
        ((unknown,), None),
    ):
        assert weights.is_published(Weights("a", sources), path) is message


# ---- reading


@pytest.mark.parametrize(
    "kind, ending",
    [("zip", ".pth"), ("zip", ".pt"), ("legacy", ".pth"), ("safetensors", ".safetensors"), ("safetensors", ".pth")],
)
def test_every_format_is_read(tmp_path, kind, ending):
    path = tmp_path / f"net{ending}"
    FORMATS[kind](STATE, path)
    assert same(read_state(path))


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_wrong_name_is_said(tmp_path, kind):
    path = tmp_path / "net.safetensors"
    FORMATS[kind](STATE, path)
    with pytest.raises(UsageError, match="named .safetensors, but it is none.*rename it to .pth"):
        read_state(path)


@pytest.mark.parametrize("wrapper", weights.WRAPPERS)
def test_usual_wrappers_are_removed(tmp_path, wrapper):
    torch.save({wrapper: STATE, "epoch": 3}, tmp_path / "net.pth")
    assert same(read_state(tmp_path / "net.pth"))


class Payload:
    """Pickles as: make a folder at `path`. What a hostile checkpoint does, with a mark instead of harm."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize(
    "wrap", [lambda p: p, lambda p: {**STATE, "extra": p}, lambda p: {"state_dict": STATE, "optimizer": p}]
)
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_no_code_in_a_checkpoint_runs(tmp_path, kind, wrap):
    path, mark = tmp_path / "evil.pth", tmp_path / "executed"
    save = (lambda content, file: file.write_bytes(pickle.dumps(content))) if kind == "pickle" else FORMATS[kind]
    save(wrap(Payload(mark)), path)
    with pytest.raises(UsageError, match="evil.pth: refused"):
        read_state(path)
    assert not mark.exists()
    if kind == "pickle":  # the payload is a real one: an unguarded reader runs it
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert mark.is_dir()


def scripted(path):
    torch.jit.script(torch.nn.Linear(2, 3)).save(str(path))
    return path


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_opens_only_with_its_published_hash(tmp_path):
    path = scripted(tmp_path / "clip.pt")
    with pytest.raises(UsageError, match="refused: a TorchScript archive is a program"):
        read_state(path, {"0" * 64})
    assert read_state(path, {weights.sha256(path)})["weight"].shape == (3, 2)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_conversion_that_the_refusal_names_works(tmp_path):
    path = scripted(tmp_path / "clip.pt")
    with pytest.raises(UsageError) as message:
        read_state(path)
    code = re.search(r'python -c "(.*)"', str(message.value))[1]
    code = code.replace("IN.pt", str(path)).replace("OUT.pth", str(tmp_path / "new.pth"))
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    assert read_state(tmp_path / "new.pth").keys() == {"weight", "bias"}


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git-LFS pointer"),
        (b"<!DOCTYPE html><html>Not found</html>", "web page"),
        (b"\n  <html>", "web page"),
        (b"not a checkpoint at all", "refused|damaged"),
        (b"PK\x03\x04 and then nothing", "half a download"),
        ((2**40).to_bytes(8, "little") + b'{"a":', "half a download"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, message):
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"net\.pth.*({message})"):
        read_state(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_half_download_is_noticed(tmp_path, kind):
    whole, half = tmp_path / "whole", tmp_path / "half.pth"
    FORMATS[kind](STATE, whole)
    content = whole.read_bytes()
    for length in {*range(1, len(content), max(1, len(content) // 60)), len(content) - 1}:
        half.write_bytes(content[:length])
        with pytest.raises(UsageError, match=r"half\.pth"):
            read_state(half)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(FORMATS)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_a_damaged_file_gives_tensors_or_one_error(tmp_path, kind, edits):
    path = tmp_path / "fuzz.pth"
    FORMATS[kind](STATE, path)
    content = bytearray(path.read_bytes())
    for place, byte in edits:
        content[int(place * (len(content) - 1))] = byte
    path.write_bytes(content)
    try:
        state = read_state(path)
    except UsageError as error:
        assert "fuzz.pth" in str(error)
    else:
        assert all(isinstance(v, torch.Tensor) and v.numel() * v.element_size() <= len(content) for v in state.values())


@pytest.mark.parametrize(
    "content, message",
    [
        ([torch.ones(2)], "expected a dict of tensors, found list"),
        ({}, "empty"),
        ({"a": torch.ones(2), "b": 3}, "found int under 'b'"),
        ({1: torch.ones(2)}, "found Tensor under 1"),
        ({"a": torch.zeros(1).expand(10**12)}, "absurd shape"),
        ({"a": torch.zeros((1,) * 9)}, "absurd shape"),
        ({"a": torch.eye(3).to_sparse()}, "plain dense tensor"),
    ],
)
def test_what_is_no_dict_of_plain_tensors_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(UsageError, match=message):
        read_state(tmp_path / "net.pth")


def test_size_limits(tmp_path, monkeypatch):
    torch.save(STATE, tmp_path / "net.pth")
    monkeypatch.setattr(weights, "MAX_TENSORS", 2)
    with pytest.raises(UsageError, match="3 tensors; expected at most 2"):
        read_state(tmp_path / "net.pth")
    monkeypatch.setattr(weights, "MAX_BYTES", 100)
    with pytest.raises(UsageError, match="GiB"):
        read_state(tmp_path / "net.pth")


def test_a_compressed_archive_is_refused(tmp_path):
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "net.pth")
    bomb = zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "net.pth") as plain, bomb:
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    assert (tmp_path / "bomb.pth").stat().st_size < 10**5
    with pytest.raises(UsageError, match="refused: a compressed archive"):
        read_state(tmp_path / "bomb.pth")


def test_match_names_the_first_keys_that_differ():
    expected = {"a": torch.ones(2, 3), "b": (4,), "bn.num_batches_tracked": torch.tensor(0)}
    match(expected, {"a": torch.zeros(2, 3), "b": torch.zeros(4)}, "net.pth")
    with pytest.raises(
        UsageError, match=r"net\.pth.*missing: b.*unexpected: c, d.*shape: a \(3, 2\) instead of \(2, 3\)"
    ):
        match(expected, {"a": torch.ones(3, 2), "c": torch.ones(1), "d": torch.ones(1)}, "net.pth")
    with pytest.raises(UsageError, match="missing: 0, 1, 2 and 7 more"):
        match({str(i): (1,) for i in range(10)}, {}, "net.pth")


def test_package_files_are_found_without_importing_the_package(monkeypatch):
    monkeypatch.delitem(sys.modules, "lpips", raising=False)  # another test may have imported it
    assert weights.package_file("lpips/weights/v0.1/alex.pth").is_file() and "lpips" not in sys.modules
    with pytest.raises(UsageError, match="no_such_package: not installed"):
        weights.package_file("no_such_package/a.pth")
    with pytest.raises(UsageError, match="missing from the package lpips"):
        weights.package_file("lpips/weights/none.pth")


def test_importing_loads_no_torch():
    code = (
        "import sys, methods.metrics, networks.download, networks.weights; "
        "sys.exit(bool({'torch', 'huggingface_hub', 'torchvision', 'piq', 'timm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
