"""Coefficients of agreement on ratings, against published values and their own definitions."""

import math
from itertools import combinations, permutations
from typing import Any

import krippendorff as library
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sklearn.metrics import cohen_kappa_score

from rewards.ml import krippendorff as module
from rewards.ml.cohen import cohen, cohen_of_ratings
from rewards.ml.gwet import agreement_weights, fleiss, fleiss_general, gwet_ac1, gwet_ac2
from rewards.ml.krippendorff import krippendorff
from rewards.ml.ratings import (
    Coefficient,
    Ratings,
    from_counts,
    from_cross_table,
    from_ratings,
    percent_agreement,
)
from tests.rewards import published

LEVELS = ["nominal", "ordinal", "interval", "ratio"]
quick = settings(derandomize=True, deadline=None, max_examples=30)


def random_ratings(seed: int, people: int = 4, items: int = 30, scale: int = 5) -> list[list[Any]]:
    """A common opinion, noise, and a third of the ratings missing."""
    rng = np.random.default_rng(seed)
    common = rng.integers(1, scale + 1, items)
    said = np.where(
        rng.random((people, items)) < 0.5, common, rng.integers(1, scale + 1, (people, items))
    )
    missing = rng.random((people, items)) < 0.33
    return [
        [None if gone else int(x) for x, gone in zip(*rows, strict=True)]
        for rows in zip(said, missing, strict=True)
    ]


def by_item(data: list[list[Any]]) -> list[list[Any]]:
    return [[x for x in column if x is not None] for column in zip(*data, strict=True)]


# ---- Krippendorff ------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_krippendorffs_own_example(level: str) -> None:
    found = krippendorff(from_ratings(published.KRIPPENDORFF), level)
    assert round(found.value, 3) == published.KRIPPENDORFF_ALPHA[level]
    assert (found.n_items, found.n_ratings) == (11, 40)  # unit 12 was rated once


@pytest.mark.parametrize("level", published.WIKIPEDIA_ALPHA)
def test_wikipedias_example(level: str) -> None:
    found = krippendorff(from_ratings(published.WIKIPEDIA), level)
    assert round(found.value, 3) == published.WIKIPEDIA_ALPHA[level]


def alpha_by_pairs(data: list[list[Any]], level: str) -> float:
    """The definition, pair by pair: disagreement within items over that among all ratings."""
    units = [unit for unit in by_item(data) if len(unit) >= 2]
    pool = [x for unit in units for x in unit]

    def squared(a: float, b: float) -> float:
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return (a - b) ** 2
        if level == "ratio":
            return ((a - b) / (a + b)) ** 2 if a + b else 0.0
        low, high = sorted((a, b))
        between = [x for x in pool if low <= x <= high]
        return (len(between) - (pool.count(a) + pool.count(b)) / 2) ** 2 if a != b else 0.0

    observed = sum(
        squared(a, b) / (len(unit) - 1) for unit in units for a, b in permutations(unit, 2)
    )
    expected = sum(squared(a, b) for a, b in permutations(pool, 2))
    return 1 - observed / len(pool) / (expected / (len(pool) * (len(pool) - 1)))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_its_definition_and_the_librarys(seed: int, level: str) -> None:
    data = random_ratings(seed, items=15)
    found = krippendorff(from_ratings(data), level).value
    assert found == pytest.approx(alpha_by_pairs(data, level), abs=1e-12)
    matrix = np.array(data, dtype=float)
    assert found == pytest.approx(library.alpha(matrix, level_of_measurement=level), abs=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_alpha_of_continuous_values(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    data = rng.normal(10, 2, 40) + rng.normal(0, 1, (3, 40))
    monkeypatch.setattr(module, "BLOCK", 1000)  # so that expected disagreement takes several
    expected = library.alpha(data, level_of_measurement=level)
    assert krippendorff(from_ratings(data), level).value == pytest.approx(expected, abs=1e-12)


def test_alpha_from_counts_is_alpha_from_ratings() -> None:
    counts = [[unit.count(v) for v in range(1, 6)] for unit in by_item(random_ratings(9))]
    for level in LEVELS:
        assert krippendorff(from_counts(counts), level).value == pytest.approx(
            krippendorff(from_ratings(random_ratings(9)), level).value, abs=1e-12
        )


# ---- Fleiss and Gwet -----------------------------------------------------------------------------


def test_fleiss_own_example_and_wikipedias() -> None:
    psychiatrists = from_ratings(list(zip(*published.FLEISS.split(), strict=True)))
    assert fleiss(psychiatrists).value == pytest.approx(0.4302445, abs=1e-7)  # R irr
    assert round(fleiss(from_counts(published.FLEISS_COUNTS)).value, 3) == 0.210
    # For complete data, alpha is a little more than kappa: by the finite-sample correction.
    kappa = fleiss(psychiatrists).value
    alpha = 1 - (1 - 1 / 180) * (1 - kappa)
    assert krippendorff(psychiatrists, "nominal").value == pytest.approx(alpha, abs=1e-12)


def test_gwets_own_examples() -> None:
    ratings = from_ratings(list(zip(*published.GWET, strict=True)))
    ac1, ac2 = gwet_ac1(ratings), gwet_ac2(ratings, "quadratic")
    assert round(ac1.value, 4) == 0.5021 and round(ac2.value, 4) == 0.8224
    # irrCAC 0.4.4 on the same table.
    assert (ac1.se, ac1.low, ac1.high) == pytest.approx((0.10343, 0.28561, 0.71858), abs=1e-5)
    assert (ac2.se, ac2.low, ac2.high) == pytest.approx((0.05431, 0.70871, 0.93604), abs=1e-5)
    # p. 160 is Krippendorff's table with its raters in another order.
    found = gwet_ac1(from_ratings(published.KRIPPENDORFF))
    assert (found.value, found.se) == pytest.approx((0.7754, 0.14295), abs=5e-5)
    assert (found.low, found.high) == (pytest.approx(0.46081, abs=1e-5), 1.0)


def gwet_by_pairs(data: list[list[Any]], weight: Any, scale: int, chance: str) -> float:
    """The definition, pair by pair of ratings and of categories."""
    units = [unit for unit in by_item(data) if unit]
    twice = [unit for unit in units if len(unit) >= 2]
    observed = np.mean([np.mean([weight(a, b) for a, b in permutations(u, 2)]) for u in twice])
    categories = range(1, scale + 1)
    share = {c: np.mean([unit.count(c) / len(unit) for unit in units]) for c in categories}
    if chance == "fleiss":
        expected = sum(share[c] ** 2 for c in categories)
    else:
        total = sum(weight(c, d) for c in categories for d in categories)
        odd = sum(share[c] * (1 - share[c]) for c in categories)
        expected = total / (scale * (scale - 1)) * odd
    return (observed - expected) / (1 - expected)


@pytest.mark.parametrize("seed", range(4))
def test_gwets_coefficients_are_their_definitions(seed: int) -> None:
    data = random_ratings(seed)
    ratings = from_ratings(data)
    for coefficient, weight, chance in (
        (gwet_ac1(ratings), lambda a, b: float(a == b), "gwet"),
        (gwet_ac2(ratings), lambda a, b: 1 - (a - b) ** 2 / 16, "gwet"),
        (gwet_ac2(ratings, "linear"), lambda a, b: 1 - abs(a - b) / 4, "gwet"),
        (fleiss_general(ratings), lambda a, b: float(a == b), "fleiss"),
    ):
        expected = gwet_by_pairs(data, weight, 5, chance)
        assert coefficient.value == pytest.approx(expected, abs=1e-12)


def test_ordinal_weights_are_gwets() -> None:
    """irrCAC 0.4.4 has .83364 for a weighted alpha of Krippendorff's table with these weights."""
    ratings = from_ratings(published.KRIPPENDORFF)
    bad = 1 - agreement_weights(ratings, "ordinal")
    units = [unit for unit in by_item(published.KRIPPENDORFF) if len(unit) >= 2]
    pool = [x for unit in units for x in unit]
    observed = sum(
        bad[a - 1, b - 1] / (len(u) - 1) for u in units for a, b in permutations(u, 2)
    ) / len(pool)
    expected = sum(bad[a - 1, b - 1] for a, b in permutations(pool, 2)) / (40 * 39)
    assert 1 - observed / expected == pytest.approx(0.83364, abs=1e-5)


@pytest.mark.parametrize("coefficient", [gwet_ac1, gwet_ac2, fleiss_general])
def test_standard_errors_are_those_of_resampled_items(coefficient: Any) -> None:
    data = np.array(random_ratings(3, people=4, items=150), dtype=float)
    rng = np.random.default_rng(0)
    scale = [1, 2, 3, 4, 5]
    values = [
        coefficient(from_ratings(data[:, rng.integers(0, 150, 150)], scale)).value
        for _ in range(120)
    ]
    assert coefficient(from_ratings(data, scale)).se == pytest.approx(np.std(values), rel=0.2)


def test_categories_that_nobody_used_count_for_gwet() -> None:
    data = [[1, 2, 1, 1], [1, 2, 1, 2]]
    assert gwet_ac1(from_ratings(data, [1, 2, 3])).value > gwet_ac1(from_ratings(data)).value


# ---- Cohen and percent agreement -----------------------------------------------------------------


def test_cohens_own_examples() -> None:
    found = cohen(published.COHEN)
    assert round(found.value, 3) == 0.492
    assert round(cohen(published.COHEN, published.COHEN_1968).value, 3) == 0.348
    sas = cohen(published.SAS)
    assert (round(sas.value, 4), round(sas.se, 4)) == (0.4842, 0.1380)
    assert (sas.low, sas.high) == pytest.approx((0.2137, 0.7547), abs=5e-5)


def test_equal_agreement_with_unequal_kappas() -> None:
    for expected, table in published.PARADOX.items():
        ratings = from_cross_table(table)
        assert percent_agreement(ratings).value == pytest.approx(0.85)
        kappa, ac1 = f"{cohen(table).value:.2f}"[1:], f"{gwet_ac1(ratings).value:.2f}"[1:]
        assert f"kappa {kappa}, AC1 {ac1}" == expected


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_kappa_is_scikit_learns_and_its_error_the_delta_methods(weights: str | None) -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(0, 4, 120)
    b = np.where(rng.random(120) < 0.6, a, rng.integers(0, 4, 120))
    found = cohen_of_ratings(a, b, weights or "nominal")
    assert found.value == pytest.approx(cohen_kappa_score(a, b, weights=weights), abs=1e-12)
    table = np.zeros((4, 4))
    np.add.at(table, (a, b), 1)
    p = table.ravel() / 120

    def kappa(cells: np.ndarray) -> float:
        given = cells.reshape(4, 4) / cells.sum()
        steps = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
        bad = {None: steps > 0, "linear": steps, "quadratic": steps**2}[weights]
        return 1 - (bad * given).sum() / (bad * np.outer(given.sum(1), given.sum(0))).sum()

    step = 1e-6 * np.eye(16)
    slope = np.array([(kappa(p + h) - kappa(p - h)) / 2e-6 for h in step])
    variance = (p @ slope**2 - (p @ slope) ** 2) / 120
    assert found.se == pytest.approx(math.sqrt(variance), rel=1e-5)


def test_kappa_leaves_out_what_only_one_rated() -> None:
    found = cohen_of_ratings(["x", "y", None, "x", "y"], ["x", "x", "y", math.nan, "y"])
    assert found.value == cohen_of_ratings(["x", "y", "y"], ["x", "x", "y"]).value
    assert found.n_items == 3


def test_percent_agreement_counts_pairs_of_ratings() -> None:
    data = random_ratings(2)
    pairs = [pair for unit in by_item(data) for pair in combinations(unit, 2)]
    expected = np.mean([a == b for a, b in pairs])
    assert percent_agreement(from_ratings(data)).value == pytest.approx(expected, abs=1e-12)


# ---- What holds whatever the data ----------------------------------------------------------------

COEFFICIENTS = {
    "nominal": lambda r: krippendorff(r, "nominal"),
    "ordinal": lambda r: krippendorff(r, "ordinal"),
    "interval": lambda r: krippendorff(r, "interval"),
    "ratio": lambda r: krippendorff(r, "ratio"),
    "fleiss": fleiss,
    "fleiss_general": fleiss_general,
    "gwet_ac1": gwet_ac1,
    "gwet_ac2": gwet_ac2,
    "gwet_ordinal": lambda r: gwet_ac2(r, "ordinal"),
    "percent": percent_agreement,
}
cell = some.one_of(some.none(), some.integers(0, 3))
matrices = some.integers(0, 6).flatmap(
    lambda n: some.lists(some.lists(cell, min_size=n, max_size=n), max_size=4)
)


def figures(found: Coefficient) -> list[float]:
    values = (found.value, found.observed, found.expected, found.se, found.low, found.high)
    return [value for value in values if value is not None]


@quick
@given(matrices)
def test_there_is_a_number_or_a_state_and_never_nan(data: list[list[Any]]) -> None:
    for name, coefficient in COEFFICIENTS.items():
        found = coefficient(from_ratings(data))
        assert (found.state == "ok") == (found.value is not None), name
        assert all(math.isfinite(value) for value in figures(found)), name
        assert found.value is None or found.value <= 1 + 1e-12


@quick
@given(matrices, some.randoms())
def test_who_said_it_and_which_item_is_first_do_not_matter(data: Any, random: Any) -> None:
    order = random.sample(range(len(data[0])), len(data[0])) if data else []
    shuffled = [[row[i] for i in order] for row in random.sample(data, len(data))]
    for name, coefficient in COEFFICIENTS.items():
        one, two = coefficient(from_ratings(data)), coefficient(from_ratings(shuffled))
        assert one.state == two.state
        assert figures(one) == pytest.approx(figures(two), abs=1e-9), name


@quick
@given(some.lists(some.integers(0, 3), min_size=2, max_size=8), some.integers(2, 4))
def test_identical_annotators_agree_perfectly(ratings: list[int], people: int) -> None:
    for coefficient in COEFFICIENTS.values():
        found = coefficient(from_ratings([ratings] * people))
        if len(set(ratings)) > 1:
            assert found.value == pytest.approx(1.0)
        else:
            assert found.state == "one category" or coefficient is percent_agreement


STATES: list[tuple[list[list[Any]], str]] = [
    ([], "no judgements"),
    ([[], []], "no judgements"),
    ([[None, None], [None, None]], "no judgements"),
    ([[1, 2, 3]], "one annotator"),
    ([[1, 2, 3], [None, None, None]], "one annotator"),
    ([[1, None], [None, 2]], "not enough overlap"),
    ([[2, 2], [2, 2]], "one category"),
    ([["x", "x"], ["x", "x"]], "one category"),
]


@pytest.mark.parametrize(("data", "state"), STATES)
def test_too_little_is_a_state(data: list[list[Any]], state: str) -> None:
    ratings = from_ratings(data)
    assert krippendorff(ratings, "nominal").state == state
    assert fleiss(ratings).state == gwet_ac1(ratings).state == state
    agreement = percent_agreement(ratings)
    assert agreement.state == ("ok" if state == "one category" else state)


def test_fleiss_needs_equal_numbers() -> None:
    found = fleiss(from_ratings([[1, 2, 1], [1, 2, None], [2, 2, 1]]))
    assert (found.state, found.value) == ("unequal numbers", None)


def test_states_of_cohen() -> None:
    assert cohen([]).state == cohen([[0, 0], [0, 0]]).state == "no judgements"
    assert cohen([[7, 0], [0, 0]]).state == "one category"
    assert cohen_of_ratings([], []).state == "no judgements"
    assert cohen_of_ratings([1, None], [None, 1]).state == "not enough overlap"
    assert cohen([[0, 1], [0, 0]]).value == 0 and cohen([[0, 1], [0, 0]]).se is None


MALFORMED = {
    "items: row 1 has 1 entries": lambda: from_ratings([[1, 2], [1]]),
    "items: row 0 is 1, not a list": lambda: from_ratings([1, 2]),
    "not on the scale": lambda: from_ratings([[1, 7]], categories=[1, 2, 3]),
    "numbers or texts": lambda: from_ratings([[1, "x"]]),
    "Annotator 0 rated item 1 inf": lambda: from_ratings([[1.0, math.inf]]),
    "named twice": lambda: from_ratings([[1]], categories=[1, 1]),
    "Row 0, column 1: -1": lambda: from_counts([[1, -1]]),
    "Row 1, column 0: 0.5": lambda: from_counts([[1, 1], [0.5, 1]]),
    "row 1 has 1 entries, row 0 has 2": lambda: from_counts([[1, 1], [1]]),
    "row 0 is 3": lambda: from_counts([3, 4]),
    "3 categories": lambda: from_counts([[1, 1]], categories="abc"),
    "not square": lambda: cohen([[1, 2, 3], [1, 2, 3]]),
    "shape": lambda: cohen(published.COHEN, [[0, 1], [1, 0]]),
    "diagonal": lambda: cohen([[1, 2], [3, 4]], [[1, 0], [0, 1]]),
    "in order": lambda: krippendorff(from_ratings([["x", "y"], ["x", "x"]]), "ordinal"),
    "not all numbers": lambda: krippendorff(from_ratings([["x", "y"], ["x", "x"]]), "interval"),
    "negative": lambda: krippendorff(from_ratings([[-1, 2], [1, 2]]), "ratio"),
    "Ordinal weights": lambda: gwet_ac2(from_ratings([["x", "y"], ["x", "x"]]), "ordinal"),
    "by distance": lambda: cohen_of_ratings(["x", "y"], ["x", "x"], "linear"),
}


@pytest.mark.parametrize("message", MALFORMED)
def test_malformed_input_is_refused_by_name(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MALFORMED[message]()


def test_texts_have_an_order_if_it_is_given() -> None:
    words = ["poor", "fair", "good"]
    numbers = random_ratings(4, scale=3)
    texts = [[None if x is None else words[x - 1] for x in row] for row in numbers]
    found: Ratings = from_ratings(texts, categories=words)
    expected = krippendorff(from_ratings(numbers), "ordinal").value
    assert krippendorff(found, "ordinal").value == pytest.approx(expected)
