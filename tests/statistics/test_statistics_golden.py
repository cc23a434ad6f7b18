"""Intervals pinned to their last digit, which holds the whole recipe: seed, draw, quantile, degrees of freedom."""

import pytest
from golden_prompts import clusters, prompts

from nemo_skills_specdec.statistics import averages, intervals

RATES = {
    3: {
        "acceptance_length": (1.15396100683246, 3.7494577881819504),
        "acceptance_rate": (0.051320335610819945, 0.9164859293939834),
        "p2": (0.06057827990866155, 0.8877920418707361),
        "c2": (0.23884783845308688, 0.9360331972625734),
    },
    9: {
        "acceptance_length": (2.142857142857143, 2.597038454772885),
        "acceptance_rate": (0.38095238095238093, 0.5323461515909617),
        "p2": (0.33442455771826174, 0.5230987250064136),
        "c2": (0.5569620253164557, 0.7609584079532933),
    },
    10: {
        "acceptance_length": (2.1045055548662743, 2.562327752694073),
        "acceptance_rate": (0.368168518288758, 0.520775917564691),
        "p2": (0.32628095488604847, 0.50967111468902),
        "c2": (0.5532960536936922, 0.7505771590064165),
    },
    80: {
        "acceptance_length": (2.2573207623739115, 2.3763940818990728),
        "acceptance_rate": (0.41910692079130374, 0.4587980272996908),
        "p2": (0.39159214315211976, 0.4363664472345651),
        "c2": (0.634216268991991, 0.6825844456285868),
    },
}
AVERAGES = {
    3: ((1.15396100683246, 3.7494577881819504), (1.2897586795527536, 3.3776932061011578), None),
    9: (
        (2.142857142857143, 2.597038454772885),
        (2.0443360249394686, 2.5739335567611605),
        (2.1801350609343273, 2.503838848580212),
    ),
    10: (
        (2.1045055548662743, 2.562327752694073),
        (2.0056121066478947, 2.53377670185822),
        (2.1513596036932117, 2.4920699386172243),
    ),
    80: (
        (2.2573207623739115, 2.3763940818990728),
        (2.224537770041902, 2.3478976361081014),
        (2.2539779881511683, 2.3770333969893214),
    ),
}


def ends(interval):
    return None if interval is None else pytest.approx((interval.low, interval.high), rel=1e-12)


@pytest.mark.parametrize("count", [3, 9, 10, 80])
def test_intervals_of_rates_are_pinned(count):
    found = intervals(clusters(count))
    assert RATES[count] == {
        "acceptance_length": ends(found.acceptance_length),
        "acceptance_rate": ends(found.acceptance_rate),
        "p2": ends(found.per_position_acceptance_rates[1]),
        "c2": ends(found.conditional_acceptance_rates[1]),
    }


@pytest.mark.parametrize("count", [3, 9, 10, 80])
def test_intervals_of_the_three_averages_are_pinned(count):
    found = averages(prompts(count))
    assert AVERAGES[count] == tuple(
        ends(average.acceptance_length_interval) for average in (found.pooled, found.request_mean, found.category_macro)
    )


def test_the_three_averages_of_the_pinned_prompts_differ():
    found = averages(prompts(80))
    assert (
        found.pooled.acceptance_length,
        found.request_mean.acceptance_length,
        found.category_macro.acceptance_length,
    ) == pytest.approx((2.316417910447761, 2.285774313865336, 2.316230697604084), rel=1e-12)
