"""Plain GETs: what a server's control plane answers, or in one line why it does not.

Keys travel in headers, only to the host they were given for, and never into a message.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

import msgspec
import requests
from requests.auth import AuthBase, HTTPBasicAuth

from nemo_skills_specdec.engines.base import decoded
from nemo_skills_specdec.errors import UsageError

API_KEY_VARIABLE = "SPECDEC_API_KEY"
"""Environment variable that holds the key, named in messages."""

_MAX_BYTES = 64 * 1024 * 1024
_MAX_REDIRECTS = 5


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one GET.

    Attributes:
        url: the URL asked, without credentials and without query.
        status: HTTP status; None if there was no answer.
        error: one line saying why there was no answer; None if there was one, whatever its status.
    """

    url: str
    status: int | None = None
    text: str = ""
    error: str | None = None

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
        raise UsageError("the API key holds characters that no header can carry, such as a line break; set it anew")
    return {"Authorization": f"Bearer {key}"} if key else {}


def fetch(url: str, headers: Mapping[str, str] | None = None, timeout: float = 10.0) -> Fetched:
    """GETs a URL, following redirects; another host never sees the headers.

    Args:
        headers: sent as they stand to the host of `url`.
        timeout: seconds for the whole exchange.

    Returns:
        The answer. This never raises: what went wrong stands in `error`.
    """
    shown = public_url(url)
    try:
        return _follow(url, dict(headers or {}), time.monotonic() + timeout, timeout)
    except requests.exceptions.SSLError:
        return Fetched(url=shown, error=f"{shown} has no valid TLS; is it http:// rather than https://?")
    except requests.exceptions.Timeout:
        return Fetched(
            url=shown, error=f"{shown} did not answer within {timeout:g} s; is the server busy or the URL wrong?"
        )
    except requests.exceptions.ConnectionError as error:
        return Fetched(url=shown, error=_connection_error(url, error))
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
        return Fetched(url=shown, error=f"{shown} broke off its answer; look at the server's log and try again")
    except (requests.exceptions.RequestException, ValueError):
        return Fetched(url=shown, error=f"{shown} cannot be asked; give a URL such as http://127.0.0.1:8000")


def key_refused(answer: Fetched) -> str | None:
    """The message for a server that wants another key; None if it does not."""
    if answer.status not in (401, 403):
        return None
    return (
        f"{answer.url} refuses access ({answer.status}): put the server's API key into the environment variable "
        f"{API_KEY_VARIABLE}"
    )


class _NoAuth(AuthBase):
    """Keeps requests from putting what a netrc file says in place of the headers given."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _follow(url: str, headers: dict[str, str], deadline: float, timeout: float) -> Fetched:
    with requests.Session() as session:
        origin, asked = urlsplit(url), url
        for _ in range(_MAX_REDIRECTS + 1):
            own = _same_origin(origin, urlsplit(asked))
            response = session.get(
                asked,
                headers=headers if own else {},
                auth=_auth(asked) if own else _NoAuth(),
                timeout=max(deadline - time.monotonic(), 0.001),
                allow_redirects=False,
                stream=True,
            )
            location = response.headers.get("Location")
            if response.is_redirect and location:
                response.close()
                asked = urljoin(asked, location)
                continue
            body = _body(response, deadline)
            return Fetched(url=public_url(url), status=response.status_code, text=body.decode("utf-8", "replace"))
    return Fetched(url=public_url(url), error=f"{public_url(url)} redirects without end; give the server's own URL")


def _body(response: requests.Response, deadline: float) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(65536):
        body += chunk
        if time.monotonic() > deadline:
            raise requests.exceptions.ReadTimeout
        if len(body) > _MAX_BYTES:
            raise requests.exceptions.ContentDecodingError
    return bytes(body)


def _auth(url: str) -> AuthBase:
    parts = urlsplit(url)
    return HTTPBasicAuth(parts.username, parts.password or "") if parts.username else _NoAuth()


def _same_origin(a: SplitResult, b: SplitResult) -> bool:
    return (a.scheme, a.hostname, a.port) == (b.scheme, b.hostname, b.port)


def _connection_error(url: str, error: requests.exceptions.ConnectionError) -> str:
    shown, parts = public_url(url), urlsplit(url)
    cause = " ".join(type(item).__name__ + " " + str(item) for item in _chain(error))
    if "NameResolutionError" in cause or "gaierror" in cause:
        return f"the host {parts.hostname} is unknown; check the spelling of {shown}"
    if "ConnectionRefusedError" in cause or "Connection refused" in cause:
        return f"nothing listens at {shown} (connection refused): is the server running, and is this its port?"
    if "ReadTimeoutError" in cause or "timed out" in cause:
        return f"{shown} did not answer in time; is the server busy or the URL wrong?"
    return f"{shown} closed the connection without an answer; is it an HTTP server?"


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    pending: list[object] = [error]
    while pending and len(found) < 20:
        item = pending.pop()
        if isinstance(item, BaseException) and item not in found:
            found.append(item)
            pending += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return found


def _split(url: str) -> SplitResult:
    text = url.strip() if "://" in url else f"http://{url.strip()}"
    try:
        parts = urlsplit(text)
        if parts.hostname and parts.scheme in ("http", "https") and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise UsageError(f"{text.rpartition('@')[2]!r} is no URL of a server; give one such as http://127.0.0.1:8000")
