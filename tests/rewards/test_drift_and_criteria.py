"""Agreement over time, and on what responses are rated for a criterion."""

import numpy as np
import pytest

from rewards.ml.alpha import AlphaSums
from rewards.ml.criteria import criterion_agreement
from rewards.ml.drift import change, windows
from rewards.ml.gwet import gwet_ac2
from rewards.ml.krippendorff import krippendorff
from rewards.ml.ratings import from_counts


def sums(disagreements: list[float]) -> AlphaSums:
    n = len(disagreements)
    return AlphaSums(np.full(n, 12.0), np.array(disagreements), np.zeros(n))


def test_windows_are_in_time_and_equally_large() -> None:
    rng = np.random.default_rng(0)
    when = rng.permutation(100) * 1.0
    found = windows(sums(list(rng.integers(0, 7, 100) * 1.0)), when)
    assert [(one.first, one.last, one.alpha.n) for one in found] == [
        (0, 33, 34),
        (34, 66, 33),
        (67, 99, 33),
    ]


@pytest.mark.parametrize(("n", "expected"), [(0, 0), (39, 0), (40, 2), (75, 2), (90, 3), (900, 12)])
def test_how_many_windows_there_are(n: int, expected: int) -> None:
    assert len(windows(sums([1.0] * n), np.arange(n) * 1.0)) == expected


def test_a_fall_is_seen_and_none_is_not() -> None:
    rng = np.random.default_rng(1)
    even = list(rng.choice([0.0, 1.0, 2.0], 150))
    worse = [*even[:120], *rng.choice([4.0, 5.0, 6.0], 30)]
    when = np.arange(150) * 1.0
    fallen, steady = change(sums(worse), when), change(sums(even), when)
    assert fallen is not None and steady is not None
    assert fallen.high < -0.05
    # 4 of 12 less agreement each way, chance being a half: alpha is 2/3 lower.
    assert fallen.value == pytest.approx(-2 / 3, abs=0.1)
    assert steady.low < 0 < steady.high
    assert (fallen.n_before, fallen.n_last) == (120, 30)


def test_prompts_of_one_person_make_no_window() -> None:
    alone = AlphaSums(np.zeros(50), np.zeros(50), np.zeros(50))
    assert windows(alone, np.arange(50) * 1.0) == []
    assert change(alone, np.arange(50) * 1.0) is None


def rated(n_prompts: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Counts of ratings 1 to 5 of four responses a prompt by one to three people."""
    rng = np.random.default_rng(seed)
    worth = rng.uniform(1, 5, (n_prompts * 4, 1))
    given = np.clip(np.rint(worth + rng.normal(0, noise, (n_prompts * 4, 3))), 1, 5)
    given[rng.random(n_prompts * 4) < 0.3, 1:] = np.nan
    given[rng.random(n_prompts * 4) < 0.3, 2] = np.nan
    counts = np.stack([(given == step).sum(axis=1) for step in range(1, 6)], axis=1)
    return counts, np.repeat(np.arange(n_prompts), 4)


def test_criteria_have_krippendorffs_and_gwets_coefficients() -> None:
    counts, prompt = rated(60, 0.7)
    found = criterion_agreement(counts, prompt)
    assert found.alpha.value == pytest.approx(krippendorff(from_counts(counts), "ordinal").value)
    assert found.gwet.value == pytest.approx(gwet_ac2(from_counts(counts)).value)
    for one in (found.alpha, found.gwet):
        assert one.low is not None and one.high is not None and one.value is not None
        assert one.low < one.value < one.high


def test_resampling_gives_the_same_coefficients_as_computing_them_on_the_resample() -> None:
    """Krippendorff's and Gwet's own functions, on whole prompts drawn again and again."""
    counts, prompt = rated(40, 0.8, seed=2)
    rng = np.random.default_rng(0)
    alphas, ac2 = [], []
    for _ in range(300):
        drawn = rng.integers(0, 40, 40)
        table = np.concatenate([counts[prompt == one] for one in drawn])
        alphas.append(krippendorff(from_counts(table), "ordinal").value)
        ac2.append(gwet_ac2(from_counts(table)).value)
    found = criterion_agreement(counts, prompt)
    for one, draws in ((found.alpha, alphas), (found.gwet, ac2)):
        low, high = np.percentile(np.array(draws, dtype=float), [2.5, 97.5])
        assert one.low == pytest.approx(low, abs=0.015)
        assert one.high == pytest.approx(high, abs=0.015)


def test_too_little_and_all_alike_are_states() -> None:
    counts, prompt = rated(19, 0.7)
    assert criterion_agreement(counts, prompt).alpha.state == "not enough overlap"
    alike = np.zeros((100, 5), dtype=np.int64)
    alike[:, 4] = 2
    found = criterion_agreement(alike, np.repeat(np.arange(50), 2))
    assert (found.alpha.state, found.alpha.value) == ("one category", None)
    empty = criterion_agreement(np.zeros((0, 5), dtype=np.int64), np.zeros(0, dtype=np.int64))
    assert empty.alpha.state == "not enough overlap"
