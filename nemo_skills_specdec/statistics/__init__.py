"""Averages by name, and how sure one may be of them.

averages     the three averages of the acceptance length, and all that is uncertain about a run
rates        intervals of AL, AR, p_i and c_i
ratio        the interval of one ratio of sums over prompts
resampling   the bootstrap
student_t    Student's t distribution
"""

from nemo_skills_specdec.statistics.averages import (
    Average,
    Averages,
    Prompt,
    Uncertainty,
    averages,
    mean,
    uncertainty,
)
from nemo_skills_specdec.statistics.interval import FEWEST_CLUSTERS, LEVEL, Interval
from nemo_skills_specdec.statistics.rates import Intervals, intervals
from nemo_skills_specdec.statistics.resampling import RESAMPLES, bootstrap_interval

__all__ = [
    "FEWEST_CLUSTERS",
    "LEVEL",
    "RESAMPLES",
    "Average",
    "Averages",
    "Interval",
    "Intervals",
    "Prompt",
    "Uncertainty",
    "averages",
    "bootstrap_interval",
    "intervals",
    "mean",
    "uncertainty",
]
