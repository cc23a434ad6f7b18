"""Where requests go: the address, and everything of a request's head that is known before the window."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, unquote, urlsplit

import msgspec

from nemo_skills_specdec import __version__
from nemo_skills_specdec.errors import UsageError

_PATHS = {"chat": "/chat/completions", "completions": "/completions"}


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An address to send to.

    Attributes:
        host: as the user wrote it, for messages and certificates.
        connect_to: host and port that connections are opened to: the server's, or a proxy's.
        secure: whether the server speaks TLS.
        head: of a request, up to the value of its Content-Length, which comes last.
        tunnel: what to send to a proxy before anything else; empty without a tunnel.
    """

    host: str
    port: int
    connect_to: tuple[str, int]
    secure: bool
    head: bytes
    tunnel: bytes = b""


def endpoint_url(url: str, api: str) -> str:
    """The address requests go to: `url` may be the server's, with or without `/v1`, or already the endpoint's.

    Raises:
        UsageError: it is no http or https address.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("the server's URL is not an http address; write it like http://localhost:8000")
    path = parts.path.rstrip("/")
    if not path.endswith("/completions"):
        path += _PATHS[api] if re.search(r"/v\d+$", path) else "/v1" + _PATHS[api]
    return parts._replace(path=path, fragment="").geturl()


def read_endpoint(url: str, headers: Mapping[str, str], *, proxy_from_env: bool) -> Endpoint:
    """Everything that can be made of a full address and of headers.

    Args:
        headers: sent with every request; they replace the usual ones of the same name.
        proxy_from_env: whether `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` are obeyed.

    Raises:
        UsageError: a header or the host cannot be sent. The message shows no value.
    """
    parts = urlsplit(url)
    host, port = _host_and_port(parts)
    netloc = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        netloc += f":{port}"
    target = quote(parts.path, safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
    fields = {"Host": netloc, "Accept": "*/*", "User-Agent": f"nemo-skills-specdec/{__version__}"}
    # Compressed streams arrive late and in lumps.
    fields["Accept-Encoding"] = "identity"
    if parts.username:
        fields["Authorization"] = _basic(parts)
    connect_to, tunnel = (host, port), b""
    proxy = _proxy_of(parts, host) if proxy_from_env else None
    if proxy is not None:
        connect_to = _host_and_port(proxy)
        authorization = {"Proxy-Authorization": _basic(proxy)} if proxy.username else {}
        if parts.scheme == "https":
            at = f"{netloc.removesuffix(f':{port}')}:{port}"
            tunnel = _head(f"CONNECT {at} HTTP/1.1", {"Host": at, **authorization}) + b"\r\n"
        else:
            target = f"http://{netloc}{target}"
            fields |= authorization
    for name, value in {**headers, "Content-Type": "application/json"}.items():
        fields = {other: kept for other, kept in fields.items() if other.lower() != name.lower()}
        fields[name] = value
    return Endpoint(
        host=host,
        port=port,
        connect_to=connect_to,
        secure=parts.scheme == "https",
        head=_head(f"POST {target} HTTP/1.1", fields) + b"Content-Length: ",
        tunnel=tunnel,
    )


def request_bytes(endpoint: Endpoint, body: bytes) -> bytes:
    """A whole request."""
    return b"%b%d\r\n\r\n%b" % (endpoint.head, len(body), body)


def _host_and_port(parts: SplitResult) -> tuple[str, int]:
    host = parts.hostname or ""
    try:
        named = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError as error:
        raise UsageError("the host in the server's URL is not valid; write it like http://localhost:8000") from error
    return named, parts.port or (443 if parts.scheme == "https" else 80)


def _proxy_of(parts: SplitResult, host: str) -> SplitResult | None:
    # Imported only where a proxy is asked for: it brings much with it.
    from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

    url = getproxies_environment().get(parts.scheme)
    if not url or proxy_bypass_environment(host):
        return None
    proxy = urlsplit(url if "://" in url else f"http://{url}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise UsageError(f"the proxy for {parts.scheme} is not an http address; unset it, or do not ask for a proxy")
    return proxy


def _basic(parts: SplitResult) -> str:
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _head(first: str, fields: Mapping[str, str]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in fields.items())]
    try:
        encoded = [line.encode("latin-1") for line in lines]
    except UnicodeEncodeError as error:
        raise UsageError("a header holds characters that no header can carry; correct it") from error
    if any(b"\r" in line or b"\n" in line or b"\0" in line for line in encoded):
        raise UsageError("a header holds characters that no header can carry, such as a line break; correct it")
    return b"".join(line + b"\r\n" for line in encoded)
