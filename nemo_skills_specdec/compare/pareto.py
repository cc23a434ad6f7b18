"""Speed of one user against speed of a GPU: which configurations are not beaten in both by another one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.compare.repeats import RunGroup


class ParetoPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration, over its repeats the mean.

    Attributes:
        user_tokens_per_second: of the median user.
        gpu_tokens_per_second: of the whole system, over the number of GPUs.
        best: whether no other configuration is at least as good in both and better in one.
    """

    label: str
    user_tokens_per_second: float
    gpu_tokens_per_second: float
    best: bool = False


def pareto(groups: Sequence[RunGroup], *, gpus: int = 1) -> list[ParetoPoint]:
    """All configurations that have both speeds, the fastest for one user first.

    Args:
        gpus: how many GPUs the server runs on.
    """
    points = [point for group in groups if (point := _point(group, gpus)) is not None]
    marked = [
        msgspec.structs.replace(point, best=not any(_beats(other, point) for other in points)) for point in points
    ]
    return sorted(marked, key=lambda point: -point.user_tokens_per_second)


def _point(group: RunGroup, gpus: int) -> ParetoPoint | None:
    users, systems = [], []
    for run in group.runs:
        speed = run.evaluation.overall.speed
        if speed.user_tokens_per_second is None or speed.output_tokens_per_second is None:
            return None
        users.append(speed.user_tokens_per_second.p50)
        systems.append(speed.output_tokens_per_second / gpus)
    return ParetoPoint(
        label=group.label,
        user_tokens_per_second=sum(users) / len(users),
        gpu_tokens_per_second=sum(systems) / len(systems),
    )


def _beats(other: ParetoPoint, point: ParetoPoint) -> bool:
    a = (other.user_tokens_per_second, other.gpu_tokens_per_second)
    b = (point.user_tokens_per_second, point.gpu_tokens_per_second)
    return a != b and a[0] >= b[0] and a[1] >= b[1]
