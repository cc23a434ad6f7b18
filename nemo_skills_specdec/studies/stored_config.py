"""A run's config as it is stored: its hash, its YAML, and no secret; those come back from the environment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from nemo_skills_specdec.errors import JSON_ERRORS, UsageError
from nemo_skills_specdec.redaction import MASK, redacted, redacted_options
from nemo_skills_specdec.studies.config import RunConfig

SERVER_URL, METRICS_URLS, EXTRA_BODY = "SPECDEC_SERVER_URL", "SPECDEC_METRICS_URLS", "SPECDEC_EXTRA_BODY"
"""Environment variables for what a stored config says without its secrets."""


def config_hash(config: RunConfig) -> str:
    """Identifies a run by everything that can change its result; port, patience and secrets cannot."""
    config = without_secrets(config)
    server = msgspec.structs.replace(config.server, port=None, ready_timeout_seconds=0.0)
    told = msgspec.to_builtins(msgspec.structs.replace(config, server=server))
    # Settings that came later: runs made before them keep their hash.
    for part, name, usual in (
        ("sampling", "logprobs", None),
        ("benchmark", "column", None),
        ("server", "ca_file", None),
        ("server", "insecure", False),
    ):
        if told[part][name] == usual:
            del told[part][name]
    if not told["fresh_cache"]:
        del told["fresh_cache"]
    # How speed is summed up, and what a drafter is called, changes nothing that is sent.
    del told["speed"], told["method"]["drafter"], told["method"]["drafter_order"]
    return hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()[:12]


def config_yaml(config: RunConfig) -> bytes:
    """A run as YAML, without secrets; as JSON, which is YAML too, where PyYAML is not installed."""
    value = msgspec.to_builtins(without_secrets(config))
    try:
        return msgspec.yaml.encode(value)
    except ImportError:
        return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def without_secrets(config: RunConfig) -> RunConfig:
    """The config with every password and key masked."""
    server, sampling = config.server, config.sampling
    return msgspec.structs.replace(
        config,
        server=msgspec.structs.replace(
            server,
            url=redacted(server.url) if server.url is not None else None,
            metrics_urls=[redacted(url) for url in server.metrics_urls],
        ),
        sampling=msgspec.structs.replace(
            sampling,
            extra_body=redacted_options(sampling.extra_body),
            chat_template_kwargs=redacted_options(sampling.chat_template_kwargs),
        ),
    )


def with_secrets(config: RunConfig, environment: Mapping[str, str]) -> RunConfig:
    """The config with the secrets that a stored one lacks; any other stays as it is.

    Args:
        environment: whose variables hold the whole values; each must be the stored one but for its secrets.

    Raises:
        UsageError: a secret is not in the environment.
    """
    server, sampling = config.server, config.sampling
    if server.url is not None and MASK in server.url:
        server = msgspec.structs.replace(server, url=_whole(server.url, SERVER_URL, environment.get(SERVER_URL)))
    if any(MASK in url for url in server.metrics_urls):
        urls = environment.get(METRICS_URLS, "").split()
        server = msgspec.structs.replace(server, metrics_urls=_whole(server.metrics_urls, METRICS_URLS, urls))
    if MASK.encode() in msgspec.json.encode(sampling.extra_body):
        body: Any = None
        try:
            body = msgspec.json.decode(environment.get(EXTRA_BODY, "null"))
        except JSON_ERRORS as error:
            raise UsageError(f"{EXTRA_BODY} is not JSON; give the whole --extra-body") from error
        sampling = msgspec.structs.replace(sampling, extra_body=_whole(sampling.extra_body, EXTRA_BODY, body))
    return msgspec.structs.replace(config, server=server, sampling=sampling)


def _whole(stored: Any, variable: str, value: Any) -> Any:
    if value is None or redacted_options(value) != stored:
        shown = msgspec.json.encode(stored).decode()
        raise UsageError(
            f"{shown} was stored without its secret; put the whole value into the environment variable {variable}"
        )
    return value
