"""Intervals pinned to the first release: the last digit of a bootstrap quantile holds its whole recipe."""

import pytest
from golden_prompts import clusters, prompts

from nemo_skills_specdec.statistics import averages, intervals

RATES = {
    3: {
        "acceptance_length": (1.0, 3.808354167125745),
        "acceptance_rate": (0.0, 0.9361180557085818),
        "p2": (0.0, 0.8447192323397485),
        "c2": (0.3333333333333333, 0.9142727625210718),
    },
    9: {
        "acceptance_length": (2.160626423236506, 2.5885667836817365),
        "acceptance_rate": (0.38687547441216874, 0.5295222612272454),
        "p2": (0.34101178765332957, 0.5205184549917439),
        "c2": (0.5638183353250936, 0.766868515154181),
    },
    10: {
        "acceptance_length": (2.114891192962811, 2.5434184787465695),
        "acceptance_rate": (0.37163039765427036, 0.5144728262488565),
        "p2": (0.3311671292608189, 0.5),
        "c2": (0.5609780217391471, 0.7345679012345679),
    },
    80: {
        "acceptance_length": (2.255214067560903, 2.374522696400468),
        "acceptance_rate": (0.41840468918696777, 0.45817423213348946),
        "p2": (0.3911257015637484, 0.43573224614263145),
        "c2": (0.6337571576395583, 0.681873532413919),
    },
}
AVERAGES = {
    3: ((1.0, 3.8083541671257453), (1.0, 3.567686599736784), None),
    9: (
        (2.160626423236506, 2.5885667836817365),
        (2.06030535201931, 2.5637636981114262),
        (2.1978127304639914, 2.480017600163246),
    ),
    10: (
        (2.114891192962811, 2.5434184787465695),
        (2.01488912705579, 2.512314057030449),
        (2.1820839284300777, 2.471689989638785),
    ),
    80: (
        (2.255214067560903, 2.374522696400468),
        (2.2230448198579853, 2.3465383294223883),
        (2.2528819800264746, 2.3759757428231687),
    ),
}


def ends(interval):
    return None if interval is None else pytest.approx((interval.low, interval.high), rel=1e-12)


@pytest.mark.parametrize("count", [3, 9, 10, 80])
def test_intervals_of_rates_are_those_of_the_first_release(count):
    found = intervals(clusters(count))
    assert RATES[count] == {
        "acceptance_length": ends(found.acceptance_length),
        "acceptance_rate": ends(found.acceptance_rate),
        "p2": ends(found.per_position_acceptance_rates[1]),
        "c2": ends(found.conditional_acceptance_rates[1]),
    }


@pytest.mark.parametrize("count", [3, 9, 10, 80])
def test_intervals_of_the_three_averages_are_those_of_the_first_release(count):
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
