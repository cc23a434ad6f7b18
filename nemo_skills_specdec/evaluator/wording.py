"""Findings and errors name options of the command line; in a job of NeMo-Skills the same things have other names."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

_OPTIONS = {
    "--metrics-url": "++metrics_urls=[...]",
    "--request-metrics-dir": "++request_metrics_dir=DIR",
    "--server-type": "--server_type",
    "--api-key-env": "++server.api_key_env_var",
}

Told = TypeVar("Told", bound=msgspec.Struct)


def in_a_job(text: str) -> str:
    """The text with the options that can be given to `ns eval`."""
    for there, here in _OPTIONS.items():
        text = text.replace(there, here)
    return text


def told_in_a_job(told: Told) -> Told:
    """The same, with every text in it reworded."""
    return msgspec.convert(_reworded(msgspec.to_builtins(told)), type(told))


def _reworded(value: Any) -> Any:
    if isinstance(value, str):
        return in_a_job(value)
    if isinstance(value, list):
        return [_reworded(item) for item in value]
    if isinstance(value, dict):
        return {key: _reworded(item) for key, item in value.items()}
    return value
