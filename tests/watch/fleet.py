"""Metrics texts of invented servers, and looks at them."""

from __future__ import annotations

from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.watch.session import Look, Session, WatchedEndpoint

URL = "http://host:8000"


def vllm(drafts: int, accepted: int, *, engine: str = "0", started: float | None = 1000.0, tokens: int = 0) -> str:
    """One engine's counters with drafts of two tokens, all first tokens accepted before any second one."""
    label = f'engine="{engine}",model_name="m"'
    first = min(drafts, accepted)
    lines = [
        f"vllm:spec_decode_num_drafts_total{{{label}}} {drafts}",
        f"vllm:spec_decode_num_draft_tokens_total{{{label}}} {2 * drafts}",
        f"vllm:spec_decode_num_accepted_tokens_total{{{label}}} {accepted}",
        f'vllm:spec_decode_num_accepted_tokens_per_pos_total{{{label},position="0"}} {first}',
        f'vllm:spec_decode_num_accepted_tokens_per_pos_total{{{label},position="1"}} {accepted - first}',
        f"vllm:generation_tokens_total{{{label}}} {tokens}",
        f"vllm:prompt_tokens_total{{{label}}} {tokens}",
        f'vllm:request_success_total{{{label},finished_reason="stop"}} {drafts // 10}',
        f"vllm:prefix_cache_hits_total{{{label}}} {tokens // 4}",
        f"vllm:num_requests_running{{{label}}} 3",
    ]
    if started is not None:
        lines.append(f"process_start_time_seconds {started}")
    return "\n".join(lines) + "\n"


def sglang(steps: int, generated: int, requests: int) -> str:
    """Counters of an SGLang with four nodes a step, always with requests in flight."""
    return "\n".join(
        [
            f"sglang:generation_tokens_total {generated}",
            f"sglang:prompt_tokens_total {generated}",
            f"sglang:num_requests_total {requests}",
            f"sglang:spec_verify_calls_total {steps}",
            f'sglang:realtime_tokens_total{{mode="decode"}} {generated}',
            "sglang:spec_num_draft_tokens 4",
            "sglang:spec_accept_length 2",
            "sglang:num_running_reqs 5",
            "",
        ]
    )


def look(at: float, text: str, url: str = URL) -> dict[str, Look]:
    return {url: Look(at=at, snapshot=Snapshot(url=f"{url}/metrics", taken_at=at, status=200, text=text))}


def no_answer(at: float, url: str = URL) -> dict[str, Look]:
    return {url: Look(at=at, snapshot=Snapshot(url=f"{url}/metrics", taken_at=at, error="connection refused"))}


def session(*urls: str) -> Session:
    return {url: WatchedEndpoint(name=url.removeprefix("http://")) for url in urls or (URL,)}
