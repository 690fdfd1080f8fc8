"""Two schools are found where they are, and hardly ever where people just judge unequally well."""

import numpy as np
import pytest

from rewards.ml.annotator_pairs import agreement_matrix
from rewards.ml.comparisons import Comparisons, compare, tabulate
from rewards.ml.exclusion import exclusion_effect
from rewards.ml.ranking_agreement import ranking_agreement
from rewards.ml.taste import schools
from tests.rewards.pools import careless, honest, judge, prompts_of, ranks_of, reversed_judge

UNEQUAL = {f"a{i:02d}": honest(0.4 + 0.15 * i) for i in range(12)}


def table(prompts: list[dict[str, dict[str, int]]]) -> Comparisons:
    return compare(tabulate(prompts))


def two_schools(seed: int, n_prompts: int = 200) -> list[dict[str, dict[str, int]]]:
    """Everybody likes quality, and half of the people like on top of it what the others dislike.

    On every second prompt there is nothing but quality.
    """
    rng = np.random.default_rng(seed)
    prompts = []
    for prompt in range(n_prompts):
        quality, style = rng.standard_normal(4), rng.standard_normal(4) * (prompt % 2) * 1.5
        said = {}
        for person in rng.choice(12, 3, replace=False):
            values = quality + style * (1 if person < 6 else -1) + 0.6 * rng.standard_normal(4)
            said[f"a{person:02d}"] = {str(i): rank for i, rank in enumerate(ranks_of(values))}
        prompts.append(said)
    return prompts


def test_planted_schools_are_found_with_their_members_and_topics() -> None:
    names = tuple(f"a{i:02d}" for i in range(12))
    found = [schools(table(two_schools(seed)), ["plain", "style"] * 100) for seed in range(8)]
    assert sum(one.two_schools for one in found) >= 7
    for one in found:
        if one.two_schools:
            assert one.members == (names[:6], names[6:])
            assert one.topics[0].topic == "style"
            assert one.topics[0].within > one.topics[0].between
            assert one.alpha_within > one.alpha + 0.1


def test_one_school_of_unequal_people_is_hardly_ever_split() -> None:
    """At the promised 5 %, more than 3 of 20 would come about in fewer than 2 % of cases."""
    found = [schools(table(prompts_of(judge(UNEQUAL, 200, seed)))) for seed in range(20)]
    assert {one.state for one in found} == {"ok"}
    assert sum(one.two_schools for one in found) <= 3


def test_a_few_bad_annotators_are_no_school() -> None:
    people = UNEQUAL | {"careless": careless, "reversed": reversed_judge}
    found = [schools(table(prompts_of(judge(people, 200, seed)))) for seed in range(6)]
    assert not any(one.two_schools for one in found)


def test_too_little_to_find_schools_is_a_state() -> None:
    few = {name: UNEQUAL[name] for name in list(UNEQUAL)[:5]}
    assert schools(table(prompts_of(judge(few, 100, 0)))).state == "too few people"
    assert schools(table(prompts_of(judge(UNEQUAL, 20, 0)))).state == "too few people"
    six = dict(list(UNEQUAL.items())[:6])
    thin = schools(table(prompts_of(judge(six, 45, 0, m=4))))
    assert (thin.state, thin.two_schools, thin.alpha) == ("not enough overlap", False, None)
    assert schools(table([])).state == "too few people"


def test_identical_people_are_one_school() -> None:
    same = [{f"a{i}": {"x": 1, "y": 2, "z": 3} for i in range(6)}] * 60
    assert not schools(table(same)).two_schools
    tied = [{f"a{i}": {"x": 1, "y": 1} for i in range(6)}] * 60
    assert not schools(table(tied)).two_schools


# Every two annotators


def test_the_matrix_has_alpha_of_each_two_on_what_both_judged() -> None:
    rng = np.random.default_rng(0)
    prompts = []
    for _ in range(40):
        who = rng.choice(list("abcd"), 3, replace=False)
        prompts.append(
            {str(name): {str(i): int(rng.integers(1, 4)) for i in range(3)} for name in who}
        )
    comparisons = table(prompts)
    found = agreement_matrix(comparisons)
    names = comparisons.annotators
    for a, one in enumerate(names):
        for b, two in enumerate(names):
            if a < b:
                both = [{n: p[n] for n in (one, two)} for p in prompts if one in p and two in p]
                assert found.n_prompts[a, b] == found.n_prompts[b, a] == len(both)
                alpha = ranking_agreement(both, resamples=1).alpha
                assert found.alpha[a, b] == pytest.approx(alpha)


def test_two_who_share_few_prompts_have_no_figure_but_a_number() -> None:
    prompts = [{"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}}] * 9
    found = agreement_matrix(table(prompts))
    assert np.isnan(found.alpha[0, 1]) and found.n_prompts[0, 1] == 9
    assert len(agreement_matrix(table([])).order) == 0


def test_people_who_agree_stand_side_by_side() -> None:
    comparisons = table(two_schools(3, n_prompts=500))
    order = agreement_matrix(comparisons).order
    sides = [comparisons.annotators[a] < "a06" for a in order]
    assert sum(one != two for one, two in zip(sides, sides[1:], strict=False)) == 1


# Leaving somebody out


def test_leaving_out_an_unlucky_honest_person_gains_nothing_on_other_prompts() -> None:
    """Of people who judge alike, whoever happens to agree least: by hindsight alpha rises."""
    gains, hindsight = [], []
    for seed in range(6):
        comparisons = table(prompts_of(judge({f"a{i}": honest() for i in range(8)}, 120, seed)))
        effects = [exclusion_effect(comparisons, name) for name in comparisons.annotators]
        worst = max(effects, key=lambda one: one.change.value)
        hindsight.append(worst.change.value)
        gains += [worst.gain] if worst.gain is not None else []
    assert min(hindsight) > 0
    assert not gains or np.mean(gains) < np.mean(hindsight) / 2


def test_leaving_out_who_answers_in_reverse_gains_on_other_prompts_too() -> None:
    people = {f"a{i}": honest() for i in range(8)} | {"reversed": reversed_judge}
    comparisons = table(prompts_of(judge(people, 200, seed=1)))
    effect = exclusion_effect(comparisons, "reversed")
    assert effect.n_suspected == effect.n_halves
    assert effect.gain > 0.05 and effect.change.low > 0
    with pytest.raises(ValueError):
        exclusion_effect(comparisons, "nobody")
