"""The samples of one endpoint apart for each replica."""

from nemo_skills_specdec.engines.exposition import Samples, parse_metrics
from nemo_skills_specdec.engines.registry import wanted_series
from nemo_skills_specdec.engines.replicas import split_replicas


def samples(*lines: str) -> Samples:
    return parse_metrics("\n".join(lines) + "\n", wanted=wanted_series())


def values(parts: dict[str, Samples], name: str) -> dict[str, list[float]]:
    return {replica: list(part.series.get(name, {}).values()) for replica, part in parts.items()}


def test_data_parallel_engines_are_replicas_that_share_their_process() -> None:
    text = samples(
        "process_start_time_seconds 5",
        'vllm:generation_tokens_total{engine="0",model_name="m"} 7',
        'vllm:generation_tokens_total{engine="1",model_name="m"} 9',
    )
    parts = split_replicas(text, "vllm")
    assert values(parts, "vllm:generation_tokens_total") == {"engine 0": [7.0], "engine 1": [9.0]}
    assert values(parts, "process_start_time_seconds") == {"engine 0": [5.0], "engine 1": [5.0]}


def test_pods_in_one_text_are_replicas() -> None:
    text = samples(
        'vllm:generation_tokens_total{engine="0",pod="a"} 7',
        'vllm:generation_tokens_total{engine="0",pod="b"} 9',
    )
    parts = split_replicas(text, "vllm")
    assert values(parts, "vllm:generation_tokens_total") == {"pod a, engine 0": [7.0], "pod b, engine 0": [9.0]}


def test_an_engine_without_such_labels_is_one_replica() -> None:
    text = samples('sglang:generation_tokens_total{model_name="m"} 7', 'sglang:num_running_reqs{dp_rank="1"} 2')
    assert split_replicas(text, "sglang") == {"": text}
