"""Tokens to text and back: tokenizer, chat template, and text that grows step by step."""

import codecs
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import tokenizers

from nemo_skills_specdec.errors import DataError, UsageError


class Tokenizer:
    """A byte-level BPE tokenizer with its chat template.

    Attributes:
        token_bytes: the bytes of each token; empty for special tokens, which are no text.
    """

    def __init__(self, folder: Path, *, size: int) -> None:
        """Reads `tokenizer.json` and, if present, `tokenizer_config.json`.

        Args:
            size: tokens the model knows; those beyond the tokenizer's are empty text.

        Raises:
            DataError: a file is missing or broken, or the tokenizer is not a byte-level one, or larger than the model.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise DataError(f"{path} is missing; give a folder with target/, draft/ and tokenizer.json")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise DataError(f"{path} is not a tokenizer: {error}") from error
        layout = msgspec.json.decode(path.read_bytes())
        if (layout.get("decoder") or {}).get("type") != "ByteLevel":
            raise DataError(f"{path}: the embedded engine reads byte-level tokenizers only")
        settings_path = folder / "tokenizer_config.json"
        settings: dict[str, Any] = msgspec.json.decode(settings_path.read_bytes()) if settings_path.is_file() else {}
        self._special = {key: _token_text(settings.get(key)) for key in ("bos_token", "eos_token", "pad_token")}
        self._template = settings.get("chat_template")
        alphabet = _byte_alphabet()
        added = {token["id"] for token in layout.get("added_tokens", []) if token.get("special")}
        known = self._tokenizer.get_vocab_size(with_added_tokens=True)
        if known > size:
            raise DataError(f"{path} has {known} tokens, the model knows {size}; use the model's own tokenizer")
        self.token_bytes: list[bytes] = []
        for token in range(size):
            piece = self._tokenizer.id_to_token(token)
            shown = "" if piece is None or token in added else piece
            self.token_bytes.append(b"".join(alphabet.get(sign, sign.encode()) for sign in shown))

    def encode(self, text: str) -> list[int]:
        """Token ids; special tokens written in the text become themselves."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def token_text(self, token: int) -> str:
        """One token by itself, special ones by name; pieces of a character become U+FFFD."""
        return self.token_bytes[token].decode("utf-8", "replace") or self._tokenizer.id_to_token(token) or ""

    def decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens; broken UTF-8 becomes U+FFFD."""
        return b"".join(self.token_bytes[token] for token in tokens).decode("utf-8", "replace")

    def chat(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """The prompt of a conversation, by the model's chat template; without one, contents on lines of their own.

        Raises:
            UsageError: the template refuses the messages.
        """
        if self._template is None:
            return "".join(f"{message['content']}\n" for message in messages)
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(reason: str) -> None:
            raise TemplateError(reason)

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = refuse
        known = {key: value for key, value in self._special.items() if value is not None}
        try:
            return environment.from_string(self._template).render(
                messages=[dict(message) for message in messages], add_generation_prompt=True, **known, **variables
            )
        except TemplateError as error:
            raise UsageError(f"the model's chat template refuses these messages: {error}") from error


class IncrementalDetokenizer:
    """Text of one sequence, handed out as soon as it is certain.

    Held back are bytes of an unfinished character, and an end that may become a stop string.
    """

    def __init__(self, token_bytes: Sequence[bytes], stop: Sequence[str]) -> None:
        self._token_bytes = token_bytes
        self._stop = [text for text in stop if text]
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped_by: str | None = None

    @property
    def watches_for_stop(self) -> bool:
        """Whether tokens must be pushed one by one, because the text may end after any of them."""
        return bool(self._stop)

    def push(self, tokens: Sequence[int]) -> str:
        """Adds tokens and returns the text that became certain; sets `stopped_by` when a stop string is complete."""
        fresh = self._decoder.decode(b"".join([self._token_bytes[token] for token in tokens]))
        if not self._stop:
            return fresh
        return self._release(self._held + fresh)

    def finish(self) -> str:
        """The text still held back."""
        rest = self._decoder.decode(b"", final=True)
        if not self._stop or self.stopped_by is not None:
            return "" if self.stopped_by is not None else rest
        released = self._release(self._held + rest)
        held, self._held = self._held, ""
        return released if self.stopped_by is not None else released + held

    def _release(self, text: str) -> str:
        found = [(text.find(stop), stop) for stop in self._stop if stop in text]
        if found:
            position, self.stopped_by = min(found)
            self._held = ""
            return text[:position]
        keep = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


def _token_text(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def _byte_alphabet() -> dict[str, bytes]:
    """The printable stand-ins that byte-level BPE writes for the 256 bytes (as GPT-2 defined them)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = {chr(byte): bytes([byte]) for byte in printable}
    others = (byte for byte in range(256) if byte not in printable)
    alphabet.update({chr(256 + index): bytes([byte]) for index, byte in enumerate(others)})
    return alphabet
