"""exponents.py: SRCC of many combinations at once, and the choice among them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from agreement.exponents import EQUAL, Agreement, choose, rough_srccs, srccs, unit_ranks


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-5, 5)] * 3), min_size=3, max_size=40))
def test_srcc_of_combinations_is_scipys_with_ties_too(rows):
    x, y, label = np.array(rows, dtype=float).T
    if len(set(label)) < 2:
        return
    for combination, result in zip((x, y, x + y), srccs(np.stack([x, y, x + y]), unit_ranks(label))):
        if len(set(combination)) < 2:
            assert np.isnan(result)
        else:
            assert result == pytest.approx(spearmanr(combination, label).statistic, abs=1e-12)


def cells(power, n=2000, noise=0.05, datasets=("alpha", "beta")):
    rng = np.random.default_rng(3)
    X = [rng.normal(size=(2, n)) for _ in datasets]
    return [(d, x, x[0] + power * x[1] + noise * rng.normal(size=n)) for d, x in zip(datasets, X)]


@pytest.mark.parametrize("power", (0.02, 0.13, 0.5, 3, 40))
def test_a_known_exponent_is_found(power):
    agreement = Agreement(cells(power))
    result = choose(agreement, ["alpha", "beta"], (1.0, 0.0), [1])
    assert result[0] == 1 and result[1] == pytest.approx(power, rel=0.15, abs=0.01)
    assert agreement.mean([result], ["alpha"])[0] > agreement.mean([(1, 0)], ["alpha"])[0] + EQUAL


def test_a_factor_that_gains_nothing_stays_out_exactly():
    assert choose(Agreement(cells(0)), ["alpha", "beta"], (1.0, 0.0), [1]) == (1.0, 0.0)


def test_a_dataset_with_more_cells_counts_no_more():
    one, other = cells(0.1)[:1], [("beta", *cells(2, datasets=("beta",))[0][1:])]
    once, often = (choose(Agreement(one * k + other), ["alpha", "beta"], (1.0, 0.0), [1]) for k in (1, 5))
    assert once == often != choose(Agreement(one), ["alpha"], (1.0, 0.0), [1])


def test_a_rough_look_sees_the_same_srcc_without_ties():
    rng = np.random.default_rng(0)
    rows, label = rng.normal(size=(20, 300)), rng.normal(size=300)
    assert rough_srccs(rows, unit_ranks(label)) == pytest.approx(srccs(rows, unit_ranks(label)), abs=1e-5)
