"""Every published vector of the data folder against the functions that users call."""

import json
from typing import Any

import pytest

from rewards.ml import statistics as st
from tests.data import data_file


def vector(name: str) -> dict[str, Any]:
    return json.loads(data_file(f"vectors/{name}.json").read_text(encoding="utf-8"))


def transposed(rows: list[list[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True))


@pytest.mark.parametrize("name", ["krippendorff_canonical", "krippendorff_wikipedia"])
def test_krippendorff(name: str) -> None:
    given = vector(name)
    ratings = st.from_ratings(given["data"])
    for level, expected in given["expected"].items():
        found = st.krippendorff(ratings, level)
        assert found.value == pytest.approx(expected, abs=given["tolerance"])
        if level in given["published"]:
            assert round(found.value, 3) == given["published"][level]
    if "also" in given:
        fleiss, ac1 = given["also"]["fleiss_style_irrCAC"], given["also"]["gwet_ac1"]
        assert st.fleiss_general(ratings).value == pytest.approx(fleiss, abs=1e-5)
        assert st.gwet_ac1(ratings).value == pytest.approx(ac1, abs=1e-5)


def test_fleiss() -> None:
    given = vector("fleiss_1971")
    expected, tolerance = given["expected"], given["tolerance"]
    diagnoses = st.from_ratings(transposed(given["data"]["diagnoses_rows_are_patients"]))
    wikipedia = st.from_counts(given["data"]["wikipedia_counts_rows_are_subjects"])
    assert st.fleiss(diagnoses).value == pytest.approx(expected["fleiss_1971"], abs=tolerance)
    assert st.fleiss(wikipedia).value == pytest.approx(expected["wikipedia"], abs=tolerance)
    alpha = expected["krippendorff_nominal_on_diagnoses"]
    assert st.krippendorff(diagnoses, "nominal").value == pytest.approx(alpha, abs=tolerance)
    ac1 = st.gwet_ac1(diagnoses)
    assert ac1.value == pytest.approx(expected["gwet_ac1_on_diagnoses"], abs=tolerance)
    assert ac1.se == pytest.approx(expected["gwet_ac1_se"], abs=tolerance)


def test_gwet() -> None:
    given = vector("gwet_ac")
    for case in given["cases"]:
        ratings = st.from_ratings(transposed(case["data"]))
        coefficients = {"ac1": st.gwet_ac1(ratings), "ac2_quadratic": st.gwet_ac2(ratings)}
        for name, expected in case["expected"].items():
            found = coefficients[name]
            assert found.value == pytest.approx(expected["value"], abs=given["tolerance"])
            assert found.se == pytest.approx(expected["se"], abs=given["tolerance"])
            assert [found.low, found.high] == pytest.approx(expected["ci95"], abs=1e-4)


def test_the_kappa_paradox() -> None:
    given = vector("kappa_paradox")
    for case in given["cases"]:
        ratings = st.from_cross_table(case["table"])
        figures = {
            "percent_agreement": st.percent_agreement(ratings),
            "cohen_kappa": st.cohen(case["table"]),
            "gwet_ac1": st.gwet_ac1(ratings),
            "krippendorff_nominal": st.krippendorff(ratings, "nominal"),
        }
        for name, found in figures.items():
            assert found.value == pytest.approx(case[name], abs=given["tolerance"])


def test_cohen() -> None:
    given = vector("cohen_1960")
    data, expected, close = given["data"], given["expected"], given["tolerance"]
    found = st.cohen(data["table"])
    assert found.value == pytest.approx(expected["kappa"], abs=close)
    assert found.se == pytest.approx(expected["ase"], abs=close)
    assert [found.low, found.high] == pytest.approx(expected["ci95"], abs=close)
    assert (found.observed, found.expected) == pytest.approx((expected["po"], expected["pe"]))
    weighted = st.cohen(data["table"], data["disagreement_weights_1968"])
    assert weighted.value == pytest.approx(expected["weighted_kappa_1968"], abs=close)
    sas = st.cohen(data["sas_table"])
    assert sas.value == pytest.approx(expected["sas_kappa"], abs=close)
    assert sas.se == pytest.approx(expected["sas_ase"], abs=close)
    assert [sas.low, sas.high] == pytest.approx(given["published"]["sas_ci"], abs=1e-4)


def test_kendall_w() -> None:
    given = vector("kendall_w")
    for case in given["cases"]:
        found, expected = st.kendall_w(case["data"]), case["expected"]
        figures = (found.s, found.uncorrected, found.value, found.chi2, found.df, found.p)
        names = ("S", "W_uncorrected", "W_tie_corrected", "chi2", "df", "p")
        assert figures == pytest.approx([expected[name] for name in names], abs=1e-6)


def test_kendall_tau_b() -> None:
    ranks, orders = vector("kendall_tau_b")["cases"]
    found = st.kendall_tau_b(ranks["x"], ranks["y"])
    assert found.value == pytest.approx(ranks["tau_b"], abs=1e-9)
    assert found.p == pytest.approx(ranks["p"], abs=1e-7)
    for a, b in (
        (orders["order_best_first_a"], orders["order_best_first_b"]),
        (orders["small"]["order_a"], orders["small"]["order_b"]),
    ):
        assert st.kendall_tau_b_of_orders(a, b).value == pytest.approx(-1.0, abs=1e-9)


def test_bradley_terry() -> None:
    given = vector("bt_citations")
    data, expected = given["data"], given["expected"]
    wins = st.outcomes_of_wins(data["wins_row_over_column"], items=data["players"])
    found = st.bradley_terry(wins)
    assert found.items == tuple(data["players"])
    assert found.worth == pytest.approx(expected["log_worth"], abs=given["tolerance"])
    assert found.worth_se[1:] == pytest.approx(expected["se"][1:], abs=given["tolerance"])
    assert found.deviance == pytest.approx(expected["residual_deviance"], abs=1e-4)
    assert found.df == expected["df"]


def test_pairs_from_rankings() -> None:
    given = vector("pairs_from_rankings")
    found, expected = st.ranking_agreement(given["data"]), given["expected"]
    figures = {
        "units_used": found.n_units,
        "N": found.n_ratings,
        "ties": found.n_ties,
        "tie_share": found.tie_share,
        "D_o": found.observed,
        "D_e": found.expected,
        "alpha_sym": found.alpha,
        "annotator_pairs_compared": found.n_annotator_pairs,
        "percent_agreement_3way": found.agreement_with_ties,
        "percent_agreement_without_ties": found.agreement_without_ties,
        "comparisons_without_ties": found.n_annotator_pairs_without_ties,
        "jackknife_se": found.jackknife_se,
    }
    for name, figure in figures.items():
        assert figure == pytest.approx(expected[name], abs=given["tolerance"]), name
    assert found.jackknife == pytest.approx(expected["jackknife_by_prompt_alphas"], abs=1e-9)
    # Krippendorff's own finite-sample factor, and his nominal metric, on the mirrored table.
    n = found.n_ratings
    library = 1 - (1 - found.alpha) * (2 * n - 1) / (2 * n)
    assert library == pytest.approx(expected["krippendorff_on_mirrored_table"], abs=1e-9)
