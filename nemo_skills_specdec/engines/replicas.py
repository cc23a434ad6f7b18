"""One endpoint's samples apart for each replica whose series it holds.

vLLM's data-parallel engines share one `/metrics`, and an exporter in between may show several pods in one text. A label
tells them apart, and each is read on its own: the restart of one must not spoil what the others counted.
"""

from __future__ import annotations

import msgspec

from nemo_skills_specdec.engines.base import EngineName
from nemo_skills_specdec.engines.exposition import Labels, Samples
from nemo_skills_specdec.engines.registry import ENGINES
from nemo_skills_specdec.engines.remarks import SERVER_LABELS


def split_replicas(samples: Samples, engine: EngineName) -> dict[str, Samples]:
    """The samples of each replica under its labels in words, such as `engine 1`; empty words without such a label.

    A series without the labels, such as the start of the process, belongs to every replica.
    """
    names = (*SERVER_LABELS, *ENGINES[engine].FACTS.replica_labels)
    replicas = {_words(labels, names): None for label_sets in samples.series.values() for labels in label_sets}
    # What has no label is a replica of its own only where nothing has one.
    apart = sorted(replicas.keys() - {""}) or [""]
    return {replica: _of(replica, samples, names) for replica in apart}


def _of(replica: str, samples: Samples, names: tuple[str, ...]) -> Samples:
    series = {
        name: {labels: value for labels, value in label_sets.items() if _words(labels, names) in (replica, "")}
        for name, label_sets in samples.series.items()
    }
    return msgspec.structs.replace(
        samples, series={name: label_sets for name, label_sets in series.items() if label_sets}
    )


def _words(labels: Labels, names: tuple[str, ...]) -> str:
    told = dict(labels)
    return ", ".join(f"{name} {told[name]}" for name in names if told.get(name))
