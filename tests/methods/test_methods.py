"""Every method of --list scores one small real pair; and the names that methods/build.py understands or refuses."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from places import ROOT
from small_dataset import call, make

import models
from common.errors import UsageError
from distances import DISTANCES, of_blocks
from methods.build import build, parse
from methods.metrics import METRICS
from methods.model import Options
from scoring import listing
from scoring.engine import score_plan
from scoring.plan import ImageFile, Plan

pytestmark = pytest.mark.numeric
NAMES = list(dict.fromkeys(row[0] for row in listing.method_rows()))
PASSES = {base: [n for n in NAMES if parse(n)[0] == base and n not in METRICS] for base in models.BACKBONES}
PASSES |= {m.features: [n for n in METRICS if METRICS[n].features == m.features] for m in METRICS.values()}
# METHOD.md section 6: in float32 an all-zero row counts 1, so `cos` of these CNNs does not vanish for identical images
NOT_ZERO = ("clip_rn50-random_cos", "st_alexnet_cos", "st_vgg16_cos")


def test_every_method_of_the_paper_is_listed():
    paper = {*models.BACKBONES, *METRICS, *(f"embed_{n}" for n, b in models.BACKBONES.items() if b.embedding)}
    assert set(NAMES) == paper == {n for names in PASSES.values() for n in names}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A 224 x 224 crop of a photograph that scikit-image carries, and the same with noise."""
    from skimage import data

    folder = tmp_path_factory.mktemp("pair")
    pixels = data.astronaut()[:224, 100:324].astype(float)
    noisy = pixels + np.random.default_rng(0).normal(0, 20, pixels.shape)
    for name, array in (("reference", pixels), ("distorted", noisy)):
        Image.fromarray(array.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
    return str(folder / "reference.png"), str(folder / "distorted.png")


@pytest.mark.parametrize("base", PASSES)
def test_scores_a_real_pair(base, pair):
    distances = (
        []
        if base not in models.BACKBONES
        else list(DISTANCES)
        if models.BACKBONES[base].kind == "tokens"
        else of_blocks()
    )
    [model] = build(PASSES[base], distances, Options(weights="random", precision="fp32"))
    reference, distorted = (ImageFile(path, 224, 224) for path in pair)
    plan = Plan(model, [(reference, reference), (distorted, reference)], [("none", 0.0)], None, 8)
    [(_, _, values)] = score_plan(plan, lambda perturbation, unit: model.columns)
    assert len(values) == len(PASSES[base]) + max(0, len(distances) - 1)
    scores = {column: of_pair[:, 0] for column, of_pair in values.items()}
    for column, (same, other) in scores.items():
        assert np.isfinite([same, other]).all(), column
        if column in METRICS and METRICS[column].higher_is == "better":
            assert same == pytest.approx(METRICS[column].identical, abs=5e-6) and other < 0.98 * same
        elif column in NOT_ZERO:
            assert other > same > 0, column
        else:
            assert abs(same) < 2e-6 and other > 3 * abs(same) + 1e-8, column


@pytest.mark.parametrize(
    "names, distances, expected",
    [
        (["dinov3"], ["l2"], "unknown method 'dinov3'; nearest known: dinov2, dinov1"),
        (["dinov1"], ["l3"], "unknown distance 'l3'"),
        (["dinov1"], [], "a backbone needs a distance"),
        (["psnr"], ["l2"], "takes? no distance"),
        (["embed_dinov1"], ["l2"], "takes the distance cos only"),
        (["embed_dinov1"], ["dc"], "takes the distance cos only"),
        (["clip_rn50"], ["skld"], "not defined for the maps of a CNN"),
        (["embed_st_vgg16"], ["cos"], "has no embedding|unknown method"),
    ],
)
def test_what_is_refused(names, distances, expected):
    with pytest.raises(UsageError, match=expected):
        build(names, distances, Options())


def test_one_pass_a_backbone_and_what_is_not_the_default_is_in_the_name():
    built = build(["dinov1", "embed_dinov1", "psnr", "msssim"], ["l2", "cos"], Options())
    assert [[c.name for c in m.columns] for m in built] == [
        ["dinov1_l2", "dinov1_cos", "embed_dinov1_cos"],
        ["psnr", "msssim"],
    ]
    odd = Options(weights="random", layers=(0, 1, 2, 11), normalize="imagenet", window=240)
    assert (
        build(["dinov1"], ["l2"], odd)[0].columns[0].name
        == "dinov1-random-layers0-2.11-norm-imagenet-window240-stride200_l2"
    )
    assert build(["timm:test_vit.r160_in1k"], ["l2"], Options())[0].columns[0].name == "timm-test_vit.r160_in1k_l2"


@pytest.mark.parametrize(
    "name, distance, expected",
    [
        ("timm:test_resnet.r160_in1k", "skld", "-d skld: not defined for the maps of a CNN"),
        ("timm:test_resnet.nosuch", "l2", "timm knows no weights of that tag"),
        ("st_alexnet", "l2", "--normalize model: st_alexnet normalises its input by itself"),
    ],
)
def test_what_is_known_only_when_loading(name, distance, expected):
    options = Options(weights="random", normalize="model")
    with pytest.raises(UsageError, match=expected):
        build([name], [distance], options)[0].load()


def test_float32_is_not_tf32():
    import torch

    torch.backends.cudnn.allow_tf32 = True  # PyTorch's default
    build(["stlpips_alex"], [], Options())[0].load()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_the_page_of_methods_is_what_the_registries_say(capsys):
    """docs/methods.md is `python -m scoring.listing`; every file of weights has its sources, in order, and its
    licence."""
    listing.main([])
    page = capsys.readouterr().out
    assert (ROOT / "docs" / "methods.md").read_text() == page, "python -m scoring.listing > docs/methods.md"
    rows = list(listing.weight_rows())
    assert all(sources and licence and citation for _, sources, licence, citation in rows)
    named = {file for row in listing.method_rows() for file in row[3].split(", ") if file != "-"}
    assert named == {name for name, *_ in rows}, "one name for a file in both tables"
    for name, metric in METRICS.items():
        smallest = f"; sides of {metric.min_side} and more" if metric.min_side > 1 else ""
        assert f"| `{name}` | - | metric of the whole image; higher is {metric.higher_is}{smallest}" in page
    for entry in models.BACKBONES.values():
        places = [page.find(str(source)) for source in entry.weights.sources] if entry.weights else []
        assert -1 not in places and places == sorted(places)
    [clip] = [sources for name, sources, *_ in rows if name.startswith("clip_vitb32.pt")]
    assert [s.split("/")[2] for s in clip] == [
        "openaipublic.azureedge.net",
        "openaipublic.blob.core.windows.net",
        "huggingface.co",
    ]


def test_a_cnn_sees_whole_images_where_asked(tmp_path, capsys):
    """Of sizes below a window, too; the name, the JSON and --verify know it. Batch size changes nothing beyond 1e-5."""
    data, scores = make(tmp_path / "data", size=(72, 64)), []
    for batch in (1, 3):
        out = tmp_path / str(batch)
        asked = ["-dat", data, "-m", "st_alexnet", "-d", "dc", "nl2", "--whole", "--batch-size", batch, "-sdir", out]
        assert call(capsys, *asked)[0] == 0
        scores.append(pd.read_csv(out / "tiny_st_alexnet-whole_dc.csv")["pred"].to_numpy())
    assert np.allclose(*scores, rtol=1e-5)
    assert json.loads((out / "tiny_st_alexnet-whole_dc.json").read_text())["settings"]["window"] is None
    assert call(capsys, "--verify", 3, out / "tiny_st_alexnet-whole_nl2.csv", "-dat", data)[0] == 0


def test_a_vit_sees_whole_images_where_asked(tmp_path, capsys):
    """Oblong and no multiple of its patches; every distance; batch size changes nothing beyond 1e-5."""
    data, scores = make(tmp_path / "data", size=(90, 70)), []
    vit, names = "timm:test_vit.r160_in1k", list(DISTANCES)
    for batch in (1, 3):
        out = tmp_path / str(batch)
        asked = ["-dat", data, "-m", vit, f"embed_{vit}", "-d", *names, "--whole", "--weights", "random"]
        assert call(capsys, *asked, "--batch-size", batch, "-sdir", out)[0] == 0
        files = [out / f"tiny_timm-test_vit.r160_in1k-random-whole_{name}.csv" for name in names]
        files += [out / "tiny_embed_timm-test_vit.r160_in1k-random-whole_cos.csv"]
        scores.append(np.stack([pd.read_csv(file)["pred"] for file in files]))
    assert np.allclose(*scores, rtol=1e-5) and (scores[0] > 0).any(1).all()


def test_whole_images_say_what_cannot_see_them():
    one = Options(window=None, weights="random")
    assert build(["clip_rn50"], ["l2"], one)[0].columns[0].name == "clip_rn50-random-whole_l2"
    assert build(["dinov1"], ["l2"], one)[0].min_side == 64
    for name in ("embed_clip_rn50", "timm:swin_tiny_patch4_window7_224.ms_in1k"):
        with pytest.raises(UsageError, match="--whole: .* cannot take images of any size"):
            build([name], ["cos"], one)[0].load()
