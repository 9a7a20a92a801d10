"""scoring.py: the engine against the naive path, and what must change no score: batches, order, workers, caching."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from places import ROOT

from common.errors import UsageError, WorkError
from methods.build import build
from methods.model import Options
from scoring import naive
from scoring.engine import score_plan
from scoring.plan import ImageFile, Plan, check_sizes, starts, tiles

pytestmark = pytest.mark.numeric
SMALL = "timm:test_vit.r160_in1k"
NONE, TRA, SCA, ROT = ("none", 0.0), ("tra", 1.0), ("sca", 1.0), ("rot", 1.0)
WINDOWS = (
    "224:0 225:0,1 230:0,6 288:0,64 384:0,160 424:0,200 425:0,200,201 512:0,200,288 506:0,200,282 640:0,200,400,416 "
    "1080:0,200,400,600,800,856"
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two references of different size, four distorted images of each."""
    from skimage import data

    folder, random = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    pairs = []
    for name, size in (("astronaut", (288, 256)), ("coffee", (430, 240))):
        pixels = np.asarray(Image.fromarray(getattr(data, name)()).resize(size), dtype=float)
        reference = folder / f"{name}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(reference)
        for i in range(4):
            path = folder / f"{name}{i}.png"
            Image.fromarray((pixels + random.normal(0, 5 + 10 * i, pixels.shape)).clip(0, 255).astype(np.uint8)).save(
                path
            )
            pairs.append(tuple(ImageFile(str(p), *size) for p in (path, reference)))
    return pairs


def model(distances=("l2", "cos", "skld", "jsd", "wsd"), names=(SMALL,), **options):
    return build(list(names), list(distances), Options(weights="random", **options))[0]


def scores(made, pairs, flags=(NONE,), batch=8, workers=0, wanted=None):
    """{(column, perturbation): (pairs, values)}"""
    plan, result = Plan(made, pairs, list(flags), None, batch), {}
    for perturbation, unit, values in score_plan(plan, wanted or (lambda p, u: made.columns), workers=workers):
        for name, numbers in values.items():
            result.setdefault((name, perturbation), np.full((len(pairs), numbers.shape[1]), np.nan))[unit] = numbers
    return result


def test_window_starts_as_in_the_golden_table():
    for line in WINDOWS.split():  # METHOD.md section 2
        length, places = line.split(":")
        assert starts(int(length), 224, 200) == [int(s) for s in places.split(",")]
    with open(ROOT / "tests" / "golden" / "windows.csv", newline="") as file:
        for row in csv.DictReader(file):
            assert starts(int(row["length"]), 224, 200) == [int(s) for s in row["starts"].split()]


def test_engine_equals_the_naive_path(photographs):
    made = model(names=[SMALL])
    result = scores(made, photographs[2:6], [NONE, TRA, SCA, ROT], batch=3)
    features = made.load()
    for i, (distorted, reference) in enumerate(photographs[2:6]):
        for (column, perturbation), values in result.items():
            if i in (0, 3) or perturbation in (TRA, ROT):
                want = naive.score(
                    lambda x: features(x).blocks,
                    distorted.path,
                    reference.path,
                    column.rsplit("_", 1)[1],
                    perturbation[0],
                )
                assert values[i, 0] == pytest.approx(want, rel=2e-5), (column, perturbation)


@pytest.mark.parametrize("change", [dict(batch=1), dict(batch=7), dict(batch=64), dict(workers=2)])
def test_batches_and_workers_change_nothing(photographs, change):
    made = model(names=[SMALL])
    plain = scores(made, photographs, [NONE, TRA])
    for key, values in scores(made, photographs, [NONE, TRA], **change).items():
        assert np.allclose(values, plain[key], rtol=1e-5), key


def test_the_order_of_pairs_changes_nothing(photographs):
    made = model(names=[SMALL])
    plain, order = scores(made, photographs, [ROT]), [5, 0, 7, 2, 4, 1, 6, 3]
    for key, values in scores(made, [photographs[i] for i in order], [ROT]).items():
        assert np.allclose(values, plain[key][order], rtol=1e-5)


def test_references_pass_once_for_all_that_leaves_them_alone(photographs):
    made = model(["l2"])
    loaded, seen = made.load(), []
    made.loader = lambda _: lambda x: seen.append(len(x)) or loaded(x)
    plan = Plan(made, photographs, [NONE, SCA, ROT, TRA], None, 8)
    list(score_plan(plan, lambda p, u: made.columns))
    per_image = [len(tiles(p[0].width, p[0].height, made)) for p in photographs]
    moved = [len(tiles(p[0].width - 3 - (p[0].width > 300) * 2, p[0].height, made)) for p in photographs]
    references = per_image[0] + per_image[4] + moved[0] + moved[4]
    assert sum(seen) == 3 * sum(per_image) + sum(moved) + references
    assert sum(plan.windows()) == sum(seen)


def test_interrupted_units_are_the_same_to_the_last_bit(photographs):
    """What is left to do is computed in the very batches of an undisturbed run."""
    made = model(["l2", "skld"])
    whole = scores(made, photographs, [NONE, ROT], batch=2)
    plan = Plan(made, photographs, [NONE, ROT], None, 2)
    units = [u for _, us in plan.blocks for u in us]
    assert len(units) > 2
    rest = scores(
        made, photographs, [NONE, ROT], batch=2, wanted=lambda p, u: made.columns if p == ROT and u in units[1:] else []
    )
    for (column, perturbation), values in rest.items():
        done = [i for u in units[1:] for i in u]
        assert perturbation == ROT and np.array_equal(values[done], whole[column, ROT][done])


def test_identity_scores_zero(photographs):
    pairs = [(r, r) for _, r in photographs[::4]]
    for key, values in scores(model(names=[SMALL]), pairs).items():
        assert np.abs(values).max() < 1e-6, key


def test_per_layer_columns_add_up_and_layers_pick_them(photographs):
    whole = scores(model(["l2", "cos"], per_layer=True), photographs[:3])
    some = scores(model(["l2"], layers=(0, 2)), photographs[:3])
    for values in whole.values():
        assert values.shape[1] > 2 and np.allclose(values[:, 0], values[:, 1:].sum(1), rtol=1e-5)
    [(name, _)], [picked] = list(some), list(some.values())
    full = next(v for (column, _), v in whole.items() if column.endswith("l2"))
    assert "layers0.2" in name and np.allclose(picked[:, 0], full[:, 1] + full[:, 3], rtol=1e-5)


def test_whole_image_metrics_share_the_engine(photographs):
    made = build(["psnr", "msssim"], [], Options())[0]
    result = scores(made, photographs, [NONE, TRA])
    for i, (distorted, reference) in enumerate(photographs):
        a, b = (np.asarray(Image.open(x.path), dtype=float) / 255 for x in (distorted, reference))
        assert result["psnr", NONE][i, 0] == pytest.approx(-10 * np.log10(((a - b) ** 2).mean() + 1e-8), abs=1e-4)


@pytest.mark.parametrize(
    "size, flags, message",
    [((220, 300), NONE, "the smallest -r that works is 224"), ((226, 300), TRA, "the smallest -r that works is 227")],
)
def test_too_small_an_image_names_the_side_that_works(size, flags, message):
    image = ImageFile("a.png", *size)
    with pytest.raises(UsageError, match=message):
        check_sizes(model(["l2"]), [(image, image)], ["a.png"], [flags])


def test_features_that_are_not_finite_stop_with_the_pair_s_name(photographs):
    made = model(["l2"])
    loaded = made.load()
    made.loader = lambda _: lambda x: loaded(x).map(lambda t: t.masked_fill(x.std() > 0.3, torch.nan))
    with pytest.raises(WorkError, match=r"\.png under .* NaN or infinite"):
        scores(made, photographs)
