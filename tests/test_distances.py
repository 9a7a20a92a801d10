"""distances.py: the naive path and POT as independent implementations, and the properties each distance must have."""

import math

import numpy as np
import ot
import pytest
import torch

import distances
from distances import DISTANCES, Features, compare
from scoring import naive

pytestmark = pytest.mark.numeric
TOKENS = ["l2", "cos", "skld", "jsd", "wsd", "swd"]


def stacks(shape, blocks=12, seed=0, near=0.3, dtype=torch.float32):
    """Two stacks of random features, the second a disturbed copy of the first."""
    generator = torch.Generator().manual_seed(seed)
    f = [torch.randn(shape, generator=generator) for _ in range(blocks)]
    g = [a + near * torch.randn(shape, generator=generator) for a in f]
    return tuple(Features([t.to(dtype) for t in stack]) for stack in (f, g))


@pytest.mark.parametrize("tokens", [197, 50, 257])  # padded to 200, cropped to 48, cropped to 256
@pytest.mark.parametrize("name", naive.DISTANCES)
def test_equals_the_naive_formulas(name, tokens):
    f, g = stacks((3, tokens, 32))
    found = compare([name], f, g)[name]
    for i in range(3):
        want = naive.DISTANCES[name]([b[i] for b in f.blocks], [b[i] for b in g.blocks])
        assert found[i].item() == pytest.approx(want, rel=2e-5)


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
    found = distances.wasserstein(torch.from_numpy(u)[None], torch.from_numpy(v)[None], p=p)[0]
    assert np.allclose(found.numpy(), want, rtol=1e-9)


def test_kl_counts_zero_targets_and_infinite_columns_as_nothing():
    p = torch.tensor([[[0.5, 0.5, 0.0], [0.5, 0.5, 1.0]]])
    q = torch.tensor([[[0.25, 0.0, 0.5], [0.75, 1.0, 0.5]]])
    want = [0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75), 0.0, math.log(2)]  # plain; infinite; a zero target
    assert distances.kl(p, q)[0].tolist() == pytest.approx(want, abs=1e-6)
    both = [(w + b) / 2 for w, b in zip(want, [0.25 * math.log(0.5) + 0.75 * math.log(1.5), math.log(2), 0.0])]
    assert distances.symmetric_kl(p, q)[0].tolist() == pytest.approx(both, abs=1e-6)


def test_float16_underflows_as_published_and_float32_does_not():
    """METHOD.md section 6: in float16 the 1e-10 vanishes, so a column far from its counterpart counts 0 and not its distance."""
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
    found = distances.embedding_cos(Features((), moved), Features((), base)).item()
    assert 0 < want < 1e-7 and found == pytest.approx(want, rel=1e-6)


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
