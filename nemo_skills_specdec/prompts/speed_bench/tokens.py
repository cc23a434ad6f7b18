"""Counting tokens of throughput prompts, and cutting or filling a text to a number of tokens."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, Protocol

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.hub.http import hub_is_offline

ENCODING = "o200k_base"
_URL = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"


class Encoder(Protocol):
    """What is needed of a tokenizer; tiktoken's encodings have it."""

    def encode(self, text: str, *, disallowed_special: Literal["all"] | Collection[str] = "all") -> list[int]:
        """Token ids of a text. Raises ValueError for the text of a special token that is disallowed."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids; bytes that are no UTF-8 become U+FFFD."""


def load_encoder(*, offline: bool = False) -> Encoder:
    """The tokenizer by which SPEED-Bench measures its throughput prompts, o200k_base.

    Args:
        offline: refuse to fetch its file, as `HF_HUB_OFFLINE` does.

    Raises:
        UsageError: tiktoken is not installed, or its file cannot be had.
    """
    try:
        import tiktoken
    except ImportError as error:
        raise UsageError(
            'throughput configs need tiktoken; install it with: pip install "nemo-skills-specdec[throughput]"'
        ) from error
    place = _cache_file()
    if (offline or hub_is_offline()) and not place.exists():
        raise UsageError(
            f"tiktoken's file for {ENCODING} is not at {place}, and offline it cannot be fetched; fetch {_URL} "
            f"elsewhere and store it as TIKTOKEN_CACHE_DIR/{place.name}"
        )
    try:
        encoder: Encoder = tiktoken.get_encoding(ENCODING)
    except Exception as error:
        raise UsageError(
            f"tiktoken cannot load {ENCODING} ({type(error).__name__}); it fetches {_URL}: allow that, or store the "
            f"file as TIKTOKEN_CACHE_DIR/{place.name}"
        ) from error
    return encoder


def fitted(encoder: Encoder, text: str, count: int, padding: str) -> str:
    """The text cut, or filled with repeated `padding`, to `count` tokens.

    A character cut in two becomes U+FFFD. A text filled up is encoded as a whole, so that tokens may span the joint.
    """
    tokens = encoder.encode(text, disallowed_special=())
    if len(tokens) < count:
        unit = len(encoder.encode(padding, disallowed_special=()))
        repeats = -(-(count - len(tokens)) // unit)
        tokens = encoder.encode(text + padding * repeats, disallowed_special=())
    elif len(tokens) == count:
        return text
    return encoder.decode(tokens[:count])


def _cache_file() -> Path:
    """Where tiktoken keeps its file."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    name = hashlib.sha1(_URL.encode(), usedforsecurity=False).hexdigest()
    return Path(folder or Path(tempfile.gettempdir()) / "data-gym-cache") / name
