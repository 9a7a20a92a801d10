"""distances.py: the naive path and POT as independent implementations, and the properties each distance must have."""

import math
import subprocess
import sys

import numpy as np
import ot
import pytest
import torch
from places import ROOT

import distances
from distances import DISTANCES, Features, block_by_block, compare, of_blocks
from scoring import naive

pytestmark = pytest.mark.numeric
TOKENS = list(DISTANCES)
POSITIONLESS = ["dc", "gram", "moments"]  # statistics over positions


def stacks(shape, blocks=12, seed=0, near=0.3, dtype=torch.float32):
    """Two stacks of random features, the second a disturbed copy of the first."""
    generator = torch.Generator().manual_seed(seed)
    f = [torch.randn(shape, generator=generator) for _ in range(blocks)]
    g = [a + near * torch.randn(shape, generator=generator) for a in f]
    return tuple(Features([t.to(dtype) for t in stack]) for stack in (f, g))


# ---- the definitions, written once more, element by element: a block of one image, x and y (C, M) arrays


def slow_dc(x, y):
    def centred(z):
        distances = np.array([[np.sqrt(max(0, ((a - b) ** 2).sum()) / len(z) ** 2 + 1e-5) for b in z] for a in z])
        return distances - distances.mean(0) - distances.mean(1)[:, None] + distances.mean()

    a, b = centred(x), centred(y)
    return 1 - ((a * b).sum() + 1e-6) / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-6)


def slow_gram(x, y):
    p, q = (np.pad(z @ z.T, (0, -len(z) % 4)) for z in (x, y))
    result = []
    for i in range(0, len(p), 4):
        for j in range(0, len(p), 4):
            a, b = (g[i : i + 4, j : j + 4].ravel() for g in (p, q))
            covariance = ((a - a.mean()) * (b - b.mean())).mean()
            result.append((2 * covariance + 1e-6) / (a.var() + b.var() + 1e-6))
    return 1 - np.mean(result)


def slow_moments(x, y):
    return np.mean(
        [
            (a.mean() - b.mean()) ** 2 / (a.mean() ** 2 + b.mean() ** 2 + 1e-6)
            + (a.std() - b.std()) ** 2 / (a.var() + b.var() + 1e-6)
            for a, b in zip(x, y)
        ]
    )


def slow_nl2(x, y):
    return ((x - y) ** 2).mean() / ((x**2).mean() + (y**2).mean()) * 2


SLOW = {
    "dc": (slow_dc, np.mean),
    "gram": (slow_gram, np.mean),
    "moments": (slow_moments, np.sum),
    "nl2": (slow_nl2, np.sum),
}


@pytest.mark.parametrize(
    "shape", [(2, 50, 32), (2, 12, 9, 7), (2, 6, 5, 8)]
)  # tokens; maps; channels that make no whole 4 x 4
@pytest.mark.parametrize("name", SLOW)
def test_equals_the_definition(name, shape):
    f, g = stacks(shape, blocks=3)
    result, (slow, over_blocks) = compare([name], f, g)[name], SLOW[name]
    for i in range(len(result)):
        rows = [
            [
                b[i].double().numpy().reshape(shape[1], -1) if len(shape) == 4 else b[i].double().numpy().T
                for b in stack.blocks
            ]
            for stack in (f, g)
        ]
        assert result[i].item() == pytest.approx(over_blocks([slow(x, y) for x, y in zip(*rows)]), rel=1e-5)


@pytest.mark.slow  # the package compiles itself when it is imported
def test_dc_equals_the_package_dcor():
    """Squared distance correlation of the channels, at a scale where the constants 1e-5 and 1e-6 vanish."""
    import dcor

    f, g = (stack.map(lambda t: 1e8 * t.double()) for stack in stacks((1, 40, 24), blocks=1))
    x, y = (stack.blocks[0][0].numpy().T for stack in (f, g))
    result = compare(["dc"], f, g)["dc"].item()
    assert result == pytest.approx(1 - dcor.distance_correlation_sqr(x, y), rel=1e-6)


@pytest.mark.parametrize("name", POSITIONLESS)
def test_statistics_do_not_see_where(name):
    f, g = stacks((2, 50, 32), blocks=2)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert (
        compare([name], f, f.map(lambda t: t[:, order]))[name].abs().max()
        < 1e-6
        < compare([name], f, g)[name].min() / 100
    )


def test_nl2_gives_every_block_the_same_voice():
    f, g = stacks((2, 50, 32), blocks=2)
    louder = [Features([stack.blocks[0], 1000 * stack.blocks[1]]) for stack in (f, g)]
    assert torch.allclose(compare(["nl2"], *louder)["nl2"], compare(["nl2"], f, g)["nl2"], rtol=1e-5)
    silent = Features([torch.zeros(1, 50, 32)])
    assert compare(["nl2"], silent, silent)["nl2"] == 0


@pytest.mark.parametrize("name", of_blocks())
def test_maps_are_compared_alike_in_every_batch(name):
    f, g = stacks((3, 16, 9, 11), blocks=3)
    together = compare([name], f, g, "corrected")[name]
    alone = [
        compare([name], *(Features([b[i : i + 1] for b in s.blocks]) for s in (f, g)), "corrected") for i in range(3)
    ]
    alone = torch.cat([result[name] for result in alone])
    assert torch.allclose(together, alone, rtol=1e-6) and (together > 0).all()
    assert compare([name], f, f, "corrected")[name].abs().max() < 2e-6
    parts = block_by_block([name], f, g, "corrected")[name]
    assert parts.shape == (3, 3) and torch.equal(DISTANCES[name].total(parts), together)


@pytest.mark.parametrize("dead", [0.0, 1.0])
@pytest.mark.parametrize("name", of_blocks())
def test_gradients_are_finite_where_channels_are_flat(name, dead):
    """Dead ReLUs: at identity, and against features that are alive."""
    flat = torch.full((1, 8, 5, 5), dead)
    for other in (flat, torch.rand(1, 8, 5, 5, generator=torch.Generator().manual_seed(0))):
        block = flat.clone().requires_grad_()
        score = compare([name], Features([block]), Features([other]), "corrected")[name]
        score.sum().backward()
        assert torch.isfinite(score).all() and torch.isfinite(block.grad).all()


def test_the_registry_is_read_without_torch():
    code = "import sys, distances; distances.of_blocks(); sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("tokens", [197, 50, 257])  # padded to 200, cropped to 48, cropped to 256
@pytest.mark.parametrize("name", naive.DISTANCES)
def test_equals_the_naive_formulas(name, tokens):
    f, g = stacks((3, tokens, 32))
    result = compare([name], f, g)[name]
    for i in range(3):
        want = naive.DISTANCES[name]([b[i] for b in f.blocks], [b[i] for b in g.blocks])
        assert result[i].item() == pytest.approx(want, rel=2e-5)


@pytest.mark.parametrize("name", TOKENS)
def test_identical_features_score_zero_and_order_does_not_matter(name):
    f, g = stacks((2, 50, 32))
    assert compare([name], f, Features(f.blocks))[name].abs().max() < 2e-6
    assert torch.allclose(compare([name], f, g)[name], compare([name], g, f)[name], rtol=1e-5)


@pytest.mark.parametrize("name", TOKENS)
def test_grows_with_the_difference(name):
    f, near = stacks((2, 50, 32), near=0.1)
    _, far = stacks((2, 50, 32), near=0.5)
    assert (compare([name], f, far)[name] > compare([name], f, near)[name]).all()


def test_together_and_alone_and_in_any_batch_are_the_same():
    f, g = stacks((5, 197, 64))
    together = compare(TOKENS, f, g)
    for name in TOKENS:
        alone = torch.cat(
            [
                compare([name], Features([b[i : i + 1] for b in f.blocks]), Features([b[i : i + 1] for b in g.blocks]))[
                    name
                ]
                for i in range(5)
            ]
        )
        assert torch.allclose(together[name], alone, rtol=1e-5), name


def test_columns_are_the_flat_memory_in_64_rows():
    blocks = [torch.arange(2 * 50 * 16, dtype=torch.float32).view(2, 50, 16) + 10_000 * b for b in range(4)]
    stack = np.stack([b[1, :48].numpy() for b in blocks])  # 8 * round(50 / 8) = 48 tokens stay
    assert np.array_equal(Features(blocks).columns[1].numpy(), stack.reshape(64, -1))
    padded = Features([torch.ones(1, 197, 16)] * 4).columns
    assert padded.shape == (1, 64, 4 * 200 * 16 // 64) and padded.sum() == 4 * 197 * 16


@pytest.mark.parametrize("p", [1, 2])
def test_wasserstein_equals_pot_on_unequal_masses(p):
    random = np.random.default_rng(0)
    u, v = (random.random((64, 40)) * random.random(40) for _ in range(2))
    support = np.arange(64.0)[:, None].repeat(40, 1)
    want = ot.wasserstein_1d(support, support, u, v, p=p, require_sort=False)
    result = distances.wasserstein(torch.from_numpy(u)[None], torch.from_numpy(v)[None], p=p)[0]
    assert np.allclose(result.numpy(), want, rtol=1e-9)


def test_kl_counts_zero_targets_and_infinite_columns_as_nothing():
    p = torch.tensor([[[0.5, 0.5, 0.0], [0.5, 0.5, 1.0]]])
    q = torch.tensor([[[0.25, 0.0, 0.5], [0.75, 1.0, 0.5]]])
    want = [0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75), 0.0, math.log(2)]  # plain; infinite; a zero target
    assert distances.kl(p, q)[0].tolist() == pytest.approx(want, abs=1e-6)
    both = [(w + b) / 2 for w, b in zip(want, [0.25 * math.log(0.5) + 0.75 * math.log(1.5), math.log(2), 0.0])]
    assert distances.symmetric_kl(p, q)[0].tolist() == pytest.approx(both, abs=1e-6)


def test_float16_underflows_as_published_and_float32_does_not():
    """METHOD.md section 6: in float16 the 1e-10 vanishes, so a column far from its counterpart counts 0 and not its
    distance."""
    x, y = torch.zeros(1, 64, 1), torch.zeros(1, 64, 1)
    x[0, 0], y[0, 1] = 30, 30
    one = Features([x.view(1, 64, 1)])
    other = Features([y.view(1, 64, 1)])
    assert compare(["jsd"], one, other)["jsd"].item() == pytest.approx((math.log(math.log(2) + 1)) ** 0.25, rel=1e-4)
    half = distances.Columns(x.half(), y.half())
    assert distances.symmetric_kl(*half.distributions, logs=half.logs).item() == 0
    assert distances.symmetric_kl(*distances.Columns(x, y).distributions).item() > 20


def test_cos_of_maps_runs_along_the_width_and_corrected_along_the_channels():
    a, b = torch.randn(2, 5, 4, 6), torch.randn(2, 5, 4, 6)
    f, g = Features([a]), Features([b])
    width = (1 - torch.nn.functional.cosine_similarity(a, b, dim=3)).mean((1, 2))
    channels = (1 - torch.nn.functional.cosine_similarity(a, b, dim=1)).mean((1, 2))
    assert torch.allclose(compare(["cos"], f, g)["cos"], width, atol=1e-6)
    assert torch.allclose(compare(["cos"], f, g, "corrected")["cos"], channels, atol=1e-6)


def test_all_zero_rows_count_one_in_float32_and_are_left_out_in_float16():
    maps = torch.rand(1, 2, 2, 8) + 0.1
    maps[0, 0, 0] = 0
    same = Features([maps])
    assert compare(["cos"], same, same)["cos"].item() == pytest.approx(1 / 4, abs=1e-6)
    half = Features([maps.half()])
    assert compare(["cos"], half, half)["cos"].item() == pytest.approx(0, abs=1e-3)
    maps[0, :, 1, 1] = 0
    assert compare(["cos"], same, same, "corrected")["cos"].item() == pytest.approx(0, abs=1e-6)


def test_embeddings_keep_digits_that_float32_has_not():
    base = torch.nn.functional.normalize(torch.randn(1, 3, 512, generator=torch.Generator().manual_seed(0)), dim=-1)
    moved = base + 1e-5 * torch.randn(base.shape, generator=torch.Generator().manual_seed(1))
    a, b = base.double().numpy()[0], moved.double().numpy()[0]
    want = np.mean([1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b)])
    result = distances.embedding_cos(Features((), moved), Features((), base)).item()
    assert 0 < want < 1e-7 and result == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("name", [n for n, d in DISTANCES.items() if d.tokens_only])
def test_maps_are_refused_where_tokens_are_needed(name):
    maps = Features([torch.rand(1, 4, 7, 7)])
    with pytest.raises(ValueError, match="maps of a CNN"):
        compare([name], maps, maps)


def test_gather_picks_windows_in_order():
    first, second = (
        Features([torch.arange(6.0).view(3, 2, 1)], torch.arange(3.0).view(3, 1, 1)),
        Features([-torch.ones(1, 2, 1)], -torch.ones(1, 1, 1)),
    )
    batch = Features.gather([(first, 2), (second, 0), (first, 0)])
    assert batch.blocks[0][:, 0, 0].tolist() == [4, -1, 0] and batch.embedding.flatten().tolist() == [2, -1, 0]
