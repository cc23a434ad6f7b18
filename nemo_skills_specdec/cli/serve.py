"""`ns-specdec serve`: the embedded engine as a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from nemo_skills_specdec.embedded.options import DialectName, DraftMethod, EmbeddedOptions, PerRequestStats
from nemo_skills_specdec.errors import UsageError


def serve(
    dialect: Annotated[DialectName, typer.Option(help="API and metrics dialect.")] = "vllm",
    method: Annotated[DraftMethod, typer.Option(help="Speculation method.")] = "draft_model",
    draft_length: Annotated[int, typer.Option(min=1, help="Draft tokens per step.")] = 3,
    draft_tree: Annotated[
        str | None,
        typer.Option(
            help="sglang dialect: draft a tree instead of a chain; children per level such as 4x2x1, or a file."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to bind; 0 picks a free one.")] = 8000,
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the API key that clients must send, if any.")
    ] = "SPECDEC_API_KEY",
    protect_metrics: Annotated[
        bool, typer.Option("--protect-metrics", help="Require the API key on /metrics too.")
    ] = False,
    per_request_stats: Annotated[
        PerRequestStats, typer.Option(help="vllm dialect: per-request statistics in the responses.")
    ] = "detailed",
    disable_log_stats: Annotated[
        bool, typer.Option("--disable-log-stats", help="Hide the engine's series on /metrics.")
    ] = False,
    export_metrics_dir: Annotated[
        Path | None, typer.Option(help="sglang dialect: folder for request-metric files.")
    ] = None,
    data_parallel_size: Annotated[int, typer.Option(min=1, help="Number of data-parallel engines.")] = 1,
    max_num_seqs: Annotated[
        int, typer.Option(min=1, help="Maximum number of sequences decoded together, per engine.")
    ] = 64,
    served_model_name: Annotated[str, typer.Option(help="Served model name.")] = "specdec-mini",
    seed: Annotated[int, typer.Option(min=0, help="Seed of requests without one.")] = 0,
) -> None:
    """Serve the embedded engine: a small real one for machines without a GPU. Stop it with Ctrl-C."""
    from nemo_skills_specdec.embedded.launch import serve_here

    serve_here(
        EmbeddedOptions(
            dialect=dialect,
            method=method,
            draft_length=draft_length,
            draft_tree=_tree_text(draft_tree),
            host=host,
            port=port,
            api_key=os.environ.get(api_key_env) or None,
            protect_metrics=protect_metrics,
            per_request_stats=per_request_stats,
            disable_log_stats=disable_log_stats,
            export_metrics_dir=str(export_metrics_dir) if export_metrics_dir else None,
            data_parallel_size=data_parallel_size,
            max_num_seqs=max_num_seqs,
            served_model_name=served_model_name,
            seed=seed,
        )
    )


def _tree_text(tree: str | None) -> str | None:
    """The shape itself, or what a file says."""
    if tree is None or not Path(tree).is_file():
        return tree
    try:
        return Path(tree).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {tree}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from error
