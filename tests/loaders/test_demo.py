"""The embedded dataset: made whole or not at all, always the same, and stronger from level to level."""

import errno
import os

import numpy as np
import pytest
from layouts import fails, touch

import datasets
from loaders import demo


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def test_demo(cache, tmp_path, monkeypatch):
    from common.images import check_all, open_rgb

    monkeypatch.setenv("IQA_CACHE", str(cache))
    dataset = datasets.load("demo", None)
    assert dataset.root == cache / "demo-v1" and os.listdir(cache) == ["demo-v1"]
    assert len(dataset.pairs) == len({pair.dis for pair in dataset.pairs}) == 125
    assert len({pair.ref for pair in dataset.pairs}) == 5
    assert "not a human opinion" in dataset.label
    assert set(check_all(dataset.path(pair.dis) for pair in dataset.pairs).values()) == {(288, 288)}
    errors = {}
    for pair in dataset.pairs:
        a, b = (np.asarray(open_rgb(dataset.path(rel)), dtype=float) for rel in (pair.dis, pair.ref))
        errors[pair.dis] = ((a - b) ** 2).mean()
    for weak, strong in zip(dataset.pairs, dataset.pairs[1:]):
        if strong.label > 1:  # the next level of the same photograph and distortion
            assert errors[strong.dis] > 1.15 * errors[weak.dis] > 0, strong.dis
    monkeypatch.setenv("IQA_CACHE", str(tmp_path))  # made again: the same to the byte
    assert datasets.load("demo", None).fingerprint == dataset.fingerprint
    for pair in dataset.pairs:
        assert (tmp_path / "demo-v1" / pair.dis).read_bytes() == dataset.path(pair.dis).read_bytes()


def test_demo_is_seen_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("IQA_CACHE", str(tmp_path / "new/cache"))

    def torn(root):
        (root / "reference").mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(demo, "make", torn)
    with pytest.raises(OSError, match="No space"):
        demo.build()
    assert os.listdir(tmp_path / "new/cache") == []

    def faster(root):
        touch(tmp_path / "new/cache/demo-v1", "first")  # another process has finished meanwhile
        touch(root, "second")

    monkeypatch.setattr(demo, "make", faster)
    assert os.listdir(demo.build()) == ["first"] and os.listdir(tmp_path / "new/cache") == ["demo-v1"]


def test_demo_cache_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("IQA_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert demo.folder() == tmp_path / "iqa-bench/demo-v1"
    touch(tmp_path, "file")
    monkeypatch.setenv("IQA_CACHE", str(tmp_path / "file/below"))
    message = fails(datasets.load, "demo", None)
    assert "IQA_CACHE" in message and "Not a directory" in message
