"""What must not leave this process, taken out of whatever does: files, the screen, errors.

Secrets are known by where they come from (`secrets_of`) and masked wherever they turn up, also where a server repeats
them. What looks like a secret of somebody else, such as a bearer token in an error text, is masked in messages only,
never in answers: those are data.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

MASK = "***"
_SHORTEST = 4
"""Shorter texts turn up by chance; no secret is so short."""

_HARMLESS_HEADERS = frozenset(
    {"accept", "accept-encoding", "accept-language", "connection", "content-type", "user-agent"}
)
_SECRET_NAME = re.compile(
    r"(?:^|[-_.])(?:api[-_]?keys?|keys?|secrets?|password|passwd|pwd|credentials?|sig|signature|authorization)$|apikey$"
    r"|(?:^|(?:access|api|auth|bearer|hf|id|refresh|secret|session)[-_]?)tokens?$|^auth$",
    re.IGNORECASE,
)
_USER_INFO = re.compile(r"(?<=://)[^/\s@\"'<>]*@")
_QUERY = re.compile(r"([?&;])([\w.\-]+)=([^&;\s#\"'<>]+)")
_BEARER = re.compile(r"(?i)\b(bearer\s+)[^\s\"',}]+|\b(sk-|hf_|nvapi-)[A-Za-z0-9_\-]{8,}")
_BASIC = re.compile(r"(?i)\b(basic\s+)([A-Za-z0-9+/_\-]{4,}={0,2})")
_NAMED = re.compile(r"(?i)([\"']?(?:api[-_]?key|password|passwd|secret)[\"']?\s*[:=]\s*[\"']?)([^\s\"',}]+)")

Data = TypeVar("Data")


def secrets_of(
    urls: Iterable[str] = (), headers: Mapping[str, str] | None = None, options: Iterable[Mapping[str, Any]] = ()
) -> tuple[str, ...]:
    """All texts that must appear nowhere, the longest first.

    Args:
        urls: whose users, passwords and query keys are secret.
        headers: whose values are secret, but for harmless ones.
        options: JSON objects; texts in them whose names are those of secrets.
    """
    found: set[str] = set()
    for url in urls:
        found |= set(_in_url(url))
    for name, value in (headers or {}).items():
        if name.lower() not in _HARMLESS_HEADERS:
            credentials = value.split(" ", 1)[-1].strip()
            found |= {value, credentials}
            pair = _basic_pair(credentials)
            found |= {pair, pair.partition(":")[2]} if pair is not None else set()
    for option in options:
        found |= set(_named_secrets(option))
    forms = {form for text in found for form in (text, quote(text, safe=""), quote(text), _in_json(text))}
    return tuple(sorted((text for text in forms if len(text) >= _SHORTEST), key=len, reverse=True))


def is_secret_name(name: str) -> bool:
    """Whether what bears this name is a secret: `api_key`, `access-token`, `password`."""
    return _SECRET_NAME.search(name) is not None


def redacted(text: str, secrets: Sequence[str] = ()) -> str:
    """A message without secrets: those that are known, and all that looks like one."""
    text = _exactly(text, secrets)
    text = _USER_INFO.sub(f"{MASK}@", text)
    text = _QUERY.sub(lambda match: f"{match[1]}{match[2]}={MASK}" if is_secret_name(match[2]) else match[0], text)
    text = _BEARER.sub(lambda match: f"{match[1] or match[2]}{MASK}", text)
    text = _BASIC.sub(lambda match: match[1] + MASK if _basic_pair(match[2]) is not None else match[0], text)
    return _NAMED.sub(lambda match: match[1] + MASK, text)


def redacted_bytes(data: bytes, secrets: Sequence[str]) -> bytes:
    """Bytes without the known secrets."""
    for secret in secrets:
        data = data.replace(secret.encode("utf-8", "surrogatepass"), MASK.encode())
    return data


def redacted_options(value: Any, secrets: Sequence[str] = ()) -> Any:
    """Options as they may be stored: JSON values whose texts bear no secret, and nothing under a secret's name."""
    if isinstance(value, str):
        return redacted(value, secrets)
    if isinstance(value, Mapping):
        return {
            name: MASK
            if isinstance(inner, str) and inner and is_secret_name(str(name))
            else redacted_options(inner, secrets)
            for name, inner in value.items()
        }
    return [redacted_options(inner, secrets) for inner in value] if isinstance(value, list | tuple) else value


def redacted_data(value: Data, secrets: Sequence[str]) -> Data:
    """Measured data without the known secrets: a struct, or JSON values; the very same where there are none."""
    if not secrets:
        return value
    encoded = msgspec.json.encode(value)
    if not any(secret.encode("utf-8", "surrogatepass") in encoded for secret in secrets):
        return value
    clean = _data(msgspec.json.decode(encoded), secrets)
    return msgspec.convert(clean, type(value)) if isinstance(value, msgspec.Struct) else clean


@contextlib.contextmanager
def redacting(secrets: Sequence[str]) -> Iterator[None]:
    """Takes secrets out of whatever the block raises, its causes included."""
    try:
        yield
    except Exception as error:
        link: BaseException | None = error
        while link is not None:
            link.args = tuple(redacted(one, secrets) if isinstance(one, str) else one for one in link.args)
            link = link.__cause__ or link.__context__
        raise


def _exactly(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _data(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        return _exactly(value, secrets)
    if isinstance(value, dict):
        return {_exactly(name, secrets): _data(inner, secrets) for name, inner in value.items()}
    return [_data(inner, secrets) for inner in value] if isinstance(value, list) else value


def _in_url(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        return
    user, password = parts.username or "", parts.password or ""
    # A user alone is a token; beside a password it is a name.
    for part in (password or user,):
        yield from (part, unquote(part))
    if user:
        pair = f"{unquote(user)}:{unquote(password)}"
        yield base64.b64encode(pair.encode()).decode()
    for name, value in parse_qsl(parts.query):
        if is_secret_name(name):
            yield value


def _named_secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if isinstance(inner, str) and is_secret_name(str(name)):
                yield inner
            else:
                yield from _named_secrets(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named_secrets(inner)


def _basic_pair(credentials: str) -> str | None:
    """User and password of Basic credentials; None if it is none."""
    try:
        pair = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return pair if ":" in pair and pair.isprintable() else None


def _in_json(text: str) -> str:
    try:
        return msgspec.json.encode(text).decode()[1:-1]
    except UnicodeEncodeError:
        return text
