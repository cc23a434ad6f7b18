"""Student's t distribution for real degrees of freedom, to the precision that corrected p-values need."""

from __future__ import annotations

import math
from statistics import NormalDist

_LARGE = 1e5
"""Degrees of freedom from which the normal distribution is as good."""


def two_sided_p(t: float, degrees_of_freedom: float) -> float:
    """Probability of a value at least as far from zero as `t`; `math.inf` degrees of freedom are the normal."""
    if degrees_of_freedom >= _LARGE:
        return math.erfc(abs(t) / math.sqrt(2))
    return _incomplete_beta(degrees_of_freedom / 2, 0.5, degrees_of_freedom / (degrees_of_freedom + t * t))


def two_sided_quantile(p: float, degrees_of_freedom: float) -> float:
    """The t whose two-sided p-value is `p`, for 0 < p < 1."""
    if degrees_of_freedom >= _LARGE:
        return -NormalDist().inv_cdf(p / 2)
    # Newton's method for ln p as a function of ln t, which is concave; steps are bounded lest p underflow.
    t = max(-NormalDist().inv_cdf(p / 2), 1e-3)
    for _ in range(100):
        found = two_sided_p(t, degrees_of_freedom)
        step = min(found * math.log(found / p) / (2 * t * _density(t, degrees_of_freedom)), 0.7)
        t *= math.exp(step)
        if abs(step) < 1e-12:
            break
    return t


def _density(t: float, freedom: float) -> float:
    half = freedom / 2
    logarithm = math.lgamma(half + 0.5) - math.lgamma(half) - 0.5 * math.log(math.pi * freedom)
    return math.exp(logarithm - (half + 0.5) * math.log1p(t * t / freedom))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b): the continued fraction of DLMF 8.17.22, from its end."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):
        # Beyond the mean the fraction converges slowly; the function is symmetric.
        return 1 - _incomplete_beta(b, a, 1 - x)
    fraction = 1.0
    for m in range(16 + int(2 * math.sqrt(max(a, b))), -1, -1):
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        fraction = 1 + odd / fraction
        if m:
            even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
            fraction = 1 + even / fraction
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(logarithm) / (a * fraction)
