"""Plain questions: what a server's control plane answers, or in one line why it does not.

Keys travel in headers, only to the host they were given for, never through a proxy and never into a message.
"""

from __future__ import annotations

import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead, InvalidURL
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

import msgspec

from nemo_skills_specdec.engines.base import decoded
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.redaction import redacted_bytes, secrets_of
from nemo_skills_specdec.retry_after import BUSY, LONGEST_WAIT_SECONDS, retry_after
from nemo_skills_specdec.tls import tls_context

API_KEY_VARIABLE = "SPECDEC_API_KEY"
"""Environment variable that holds the key, named in messages."""

_MAX_BYTES = 64 * 1024 * 1024
_SHORTEST_PAUSE_SECONDS = 0.05
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one GET.

    Attributes:
        url: the URL asked, without credentials and without query.
        status: HTTP status; None if there was no answer.
        error: one line saying why there was no answer; None if there was one, whatever its status.
        retry_after_seconds: how long a server that is busy asks to wait.
    """

    url: str
    status: int | None = None
    text: str = ""
    error: str | None = None
    retry_after_seconds: float | None = None

    def json(self) -> Any:
        """The decoded body of a 200; None for any other status or body."""
        return decoded(self.text) if self.status == 200 else None


def base_url(url: str) -> str:
    """The server's root for any URL people give: scheme added, `/v1` and what follows it or a `/metrics` stripped.

    Raises:
        UsageError: this is no URL.
    """
    parts = _split(url)
    path = parts.path
    for ending in ("/v1", "/v1/chat/completions", "/v1/completions", "/v1/models", "/metrics"):
        if path.rstrip("/").endswith(ending):
            path = path.rstrip("/")[: -len(ending)]
            break
    return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", ""))


def metrics_url(url: str) -> str:
    """The metrics endpoint for what was given: a server's URL gets `/metrics`, a URL of metrics is taken as it stands.

    Raises:
        UsageError: this is no URL.
    """
    parts = _split(url)
    last = parts.path.rstrip("/").rpartition("/")[2].lower()
    if "metric" in last or "prom" in last:
        return urlunsplit((parts.scheme, parts.netloc, parts.path, parts.query, ""))
    return f"{base_url(url)}/metrics"


def public_url(url: str) -> str:
    """A URL as it may be printed and stored: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2].partition("?")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def bearer(api_key: str | None) -> dict[str, str]:
    """The header that carries an API key; empty without one.

    Raises:
        UsageError: the key cannot stand in a header. The message does not show it.
    """
    key = (api_key or "").strip()
    if not key.isascii() or (key and not key.isprintable()):
        raise UsageError("the API key holds characters that no header can carry, such as a line break; set it again")
    return {"Authorization": f"Bearer {key}"} if key else {}


def fetch(
    url: str,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
    *,
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
) -> Fetched:
    """GETs a URL, or POSTs JSON to it, following redirects of a GET; another host never sees the headers.

    Args:
        headers: sent as they stand to the host of `url`.
        body: JSON to POST; None for a GET.
        tls: how certificates are checked; by default as `tls_context()` does.

    Returns:
        The answer. This never raises: what went wrong stands in `error`. A server that asks to wait is asked again
        after that time.
    """
    until = time.monotonic() + LONGEST_WAIT_SECONDS
    while True:
        try:
            answer = _follow(url, headers or {}, time.monotonic() + timeout, body, tls)
        except (OSError, HTTPException, ValueError, UsageError) as error:
            return Fetched(url=public_url(url), error=_problem(url, error, timeout))
        pause = answer.retry_after_seconds if answer.status in BUSY else None
        if pause is None or time.monotonic() + pause > until:
            return answer
        time.sleep(max(pause, _SHORTEST_PAUSE_SECONDS))


def key_refused(answer: Fetched) -> str | None:
    """The message for a server that wants another key; None if it does not."""
    if answer.status not in (401, 403):
        return None
    return (
        f"{answer.url} refuses access ({answer.status}): put the server's API key into the environment variable "
        f"{API_KEY_VARIABLE}"
    )


def _follow(
    url: str, headers: Mapping[str, str], deadline: float, body: bytes | None, tls: ssl.SSLContext | None
) -> Fetched:
    origin, asked = urlsplit(url), url
    for _ in range(_MAX_REDIRECTS + 1):
        parts = urlsplit(asked)
        connection = _connection(parts, deadline, tls)
        try:
            own = _authorised(parts, headers) if _same_origin(origin, parts) else {}
            kind = {} if body is None else {"Content-Type": "application/json"}
            target = quote(urlunsplit(("", "", parts.path or "/", parts.query, "")), safe="%/:=&?~#+!$,;'@()*[]")
            connection.request("GET" if body is None else "POST", target, body, {"Connection": "close", **kind, **own})
            response = connection.getresponse()
            location = response.headers.get("Location")
            if body is None and response.status in _REDIRECTS and location:
                asked = urljoin(asked, location)
                continue
            answer = redacted_bytes(_body(response, connection.sock, deadline), secrets_of([url], headers))
            text = answer.decode("utf-8", "replace")
            pause = retry_after(response.headers.get("Retry-After"))
            return Fetched(url=public_url(url), status=response.status, text=text, retry_after_seconds=pause)
        finally:
            connection.close()
    return Fetched(url=public_url(url), error=f"{public_url(url)} redirects without end; give the server's own URL")


def _connection(parts: SplitResult, deadline: float, tls: ssl.SSLContext | None) -> HTTPConnection:
    left = max(deadline - time.monotonic(), 0.001)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidURL(parts.scheme)
    if parts.scheme == "https":
        return HTTPSConnection(parts.hostname, parts.port, timeout=left, context=tls or tls_context())
    return HTTPConnection(parts.hostname, parts.port, timeout=left)


def _body(response: HTTPResponse, sock: socket.socket | None, deadline: float) -> bytes:
    body = bytearray()
    while chunk := response.read1(65536):
        body += chunk
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if len(body) > _MAX_BYTES:
            raise IncompleteRead(b"")
        # Of an answer that ends with the connection, the response alone holds the socket.
        if sock is not None and sock.fileno() >= 0:
            sock.settimeout(left)
    if response.length:
        raise IncompleteRead(b"")
    return bytes(body)


def _authorised(parts: SplitResult, headers: Mapping[str, str]) -> dict[str, str]:
    if not parts.username:
        return dict(headers)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {**headers, "Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _same_origin(a: SplitResult, b: SplitResult) -> bool:
    return (a.scheme, a.hostname, a.port) == (b.scheme, b.hostname, b.port)


def _problem(url: str, error: Exception, timeout: float) -> str:
    shown = public_url(url)
    if isinstance(error, UsageError):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{shown} has a certificate that is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"{shown} does not speak TLS properly; is it http:// rather than https://?"
    if isinstance(error, TimeoutError):
        return f"{shown} did not answer within {timeout:g} s; is the server busy or the URL wrong?"
    if isinstance(error, socket.gaierror):
        return f"the host {urlsplit(url).hostname} is unknown; check the spelling of {shown}"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {shown} (connection refused): is the server running, and is this its port?"
    if isinstance(error, IncompleteRead):
        return f"{shown} broke off its answer; check the server's log and try again"
    if isinstance(error, InvalidURL | ValueError):
        return f"{shown} cannot be asked; give a URL such as http://127.0.0.1:8000"
    return f"{shown} closed the connection without an answer; is it an HTTP server?"


def _split(url: str) -> SplitResult:
    text = url.strip() if "://" in url else f"http://{url.strip()}"
    try:
        parts = urlsplit(text)
        if parts.hostname and parts.scheme in ("http", "https") and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise UsageError(f"{text.rpartition('@')[2]!r} is not a server URL; give one such as http://127.0.0.1:8000")
