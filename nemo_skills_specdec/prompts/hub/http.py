"""Reads over HTTP: allowed hosts only, with retries, resumption and a count of the bytes.

Neither the hub's client nor `datasets` retries every passing fault (a 503 here, a 429 there, a body cut short), and
both refuse some plain file addresses, so this module does its own reading on top of `requests`.
"""

from __future__ import annotations

import email.utils
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import msgspec
import requests

from nemo_skills_specdec.errors import JSON_ERRORS, UsageError

HUB = "https://huggingface.co"
DEFAULT_HOSTS = frozenset(
    {
        "huggingface.co",
        "raw.githubusercontent.com",
        "github.com",
        "opencompass.openxlab.space",
        "www.gutenberg.org",
    }
)
"""Hosts that SPEED-Bench's rows name as sources. Redirects of these may lead elsewhere, over HTTPS only."""

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# What comes of a piece before the connection breaks is lost, so pieces are small.
_CHUNK = 1 << 15
_LONGEST_WAIT = 600.0
_MOST_REDIRECTS = 6


class HttpError(UsageError):
    """A request failed for good.

    Attributes:
        status: the HTTP status, None where no answer came.
        code: the hub's own error code (`GatedRepo`, `RevisionNotFound`, ...), if it sent one.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class OfflineError(UsageError):
    """Something is needed that the cache does not hold, and the network must not be used."""


class Progress(Protocol):
    """Told about transfers, to show them."""

    def begin(self, name: str, total: int | None) -> int:
        """Starts a transfer of `total` bytes (None if unknown) and returns its handle."""

    def advance(self, handle: int, count: int) -> None:
        """Says that `count` more bytes have come."""

    def end(self, handle: int) -> None:
        """Says that the transfer is over."""


class Silent:
    """Shows nothing."""

    def begin(self, name: str, total: int | None) -> int:
        """Ignores the start of a transfer."""
        return 0

    def advance(self, handle: int, count: int) -> None:
        """Ignores progress."""

    def end(self, handle: int) -> None:
        """Ignores the end."""


class RemoteFile(msgspec.Struct, frozen=True):
    """What a server says about a file.

    Attributes:
        size: in bytes; None if not said.
        etag: changes when the content does; None if not sent.
    """

    size: int | None
    etag: str | None


class Fetcher:
    """Reads from allowed hosts.

    Addresses that begin with https://huggingface.co are read from the endpoint in use (`HF_ENDPOINT`), and the token
    goes to that endpoint alone.
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        token: str | None = None,
        hosts: Iterable[str] = (),
        offline: bool = False,
        attempts: int = 6,
        timeout: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        progress: Progress | None = None,
    ) -> None:
        """Prepares a reader; nothing is sent yet.

        Args:
            endpoint: address of the hub; None takes `HF_ENDPOINT`, else the public one.
            token: access token for the hub.
            hosts: further hosts that may be read, as `host` or `host:port`; plain http is accepted for them.
            offline: refuse every request.
            attempts: how often a read is tried without one new byte before it fails.
            timeout: seconds to wait for a connection and for each piece of data.
            sleep: waits between attempts, in seconds.
            progress: told about transfers.
        """
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        self.offline = offline
        self.bytes_received = 0
        self.requests_sent = 0
        self._token = token
        self._hosts = DEFAULT_HOSTS | {host.lower() for host in hosts}
        self._plain_hosts = {host.lower() for host in hosts} | {urlsplit(self.endpoint).netloc.lower()}
        self._attempts = attempts
        self._timeout = timeout
        self._sleep = sleep
        self._progress: Progress = progress or Silent()
        self._session = requests.Session()
        # Without this, requests would take credentials for any host out of ~/.netrc.
        self._session.auth = _no_auth

    @property
    def has_token(self) -> bool:
        """Whether a token was given."""
        return self._token is not None

    def resolve(self, url: str) -> str:
        """The address that is really asked: the hub's public address is exchanged for the endpoint in use."""
        return self.endpoint + url.removeprefix(HUB) if url.startswith(HUB + "/") else url

    def check_host(self, url: str) -> None:
        """Refuses an address that leads to a host not allowed.

        Raises:
            UsageError: names the host and the option that allows it.
        """
        parts = urlsplit(self.resolve(url))
        host = parts.netloc.rpartition("@")[2].lower()
        if host in self._plain_hosts and parts.scheme in ("http", "https"):
            return
        if parts.scheme != "https" or host not in self._hosts:
            raise UsageError(
                f"{_shown(url)} leads to {parts.scheme or 'no scheme'}://{host}, which is not among the allowed hosts; "
                f"if you trust it, allow it with --allow-host {host or 'HOST'}"
            )

    def json(self, url: str) -> Any:
        """Reads an answer in JSON."""
        data = self.read(url)
        try:
            return msgspec.json.decode(data)
        except JSON_ERRORS as error:
            raise HttpError(f"{_shown(url)} did not answer in JSON ({error}); is {self.endpoint} a hub?") from error

    def inspect(self, url: str) -> RemoteFile:
        """Asks for a file's size and version without reading it."""
        with closing(self._send("HEAD", url, {}, (200,))) as answer:
            return _remote_file(answer)

    def read(self, url: str, start: int = 0, stop: int | None = None) -> bytes:
        """Reads a whole answer, or the bytes [start, stop) of it."""
        data = b"".join(self.stream(url, start, stop))
        if stop is not None and len(data) != stop - start:
            raise HttpError(f"{_shown(url)} ends after {start + len(data)} bytes, {stop} were expected; try again")
        return data

    def stream(
        self,
        url: str,
        start: int = 0,
        stop: int | None = None,
        *,
        etag: str | None = None,
        name: str | None = None,
        on_answer: Callable[[RemoteFile], None] | None = None,
    ) -> Generator[bytes, None, None]:
        """Yields the bytes from `start` on, asking again from where it stopped when the connection breaks.

        Args:
            url: what to read.
            start: first byte.
            stop: end of the range, exclusive; None reads to the end.
            etag: version that the bytes must be of; None takes the one of the first answer.
            name: shown with the progress; None shows nothing.
            on_answer: called once with the size and version of the whole file.

        Raises:
            HttpError: the server refuses, the file changed meanwhile, or too many attempts brought no new byte.
        """
        position = start
        failures = 0
        handle: int | None = None
        try:
            while True:
                headers = _range_header(position, stop)
                problem: str
                try:
                    with closing(self._send("GET", url, headers, (200, 206, 416))) as answer:
                        if answer.status_code == 416:
                            return
                        remote = _remote_file(answer)
                        if etag is not None and remote.etag is not None and remote.etag != etag:
                            raise HttpError(f"{_shown(url)} changed while it was read; start again", code="Changed")
                        etag = etag or remote.etag
                        if on_answer is not None:
                            on_answer(remote)
                            on_answer = None
                        if name is not None and handle is None:
                            end = stop if stop is not None else remote.size
                            handle = self._progress.begin(name, None if end is None else end - start)
                        skip = position if answer.status_code == 200 else 0
                        for chunk in self._chunks(answer):
                            piece = chunk[skip:]
                            skip = max(0, skip - len(chunk))
                            if stop is not None:
                                piece = piece[: stop - position]
                            if not piece:
                                continue
                            failures = 0
                            position += len(piece)
                            if handle is not None:
                                self._progress.advance(handle, len(piece))
                            yield piece
                            if stop is not None and position >= stop:
                                return
                    if remote.size is None or position >= (remote.size if stop is None else min(stop, remote.size)):
                        return
                    problem = f"the answer ended after {position} of {remote.size} bytes"
                except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                    problem = _plain(error)
                failures += 1
                if failures >= self._attempts:
                    raise HttpError(f"{_shown(url)} could not be read: {problem}; run the command again to go on")
                self._sleep(_backoff(failures))
        finally:
            if handle is not None:
                self._progress.end(handle)

    def _chunks(self, answer: requests.Response) -> Iterator[bytes]:
        for chunk in answer.iter_content(_CHUNK):
            self.bytes_received += len(chunk)
            yield chunk

    def _send(self, method: str, url: str, headers: Mapping[str, str], wanted: tuple[int, ...]) -> requests.Response:
        """Sends a request, follows redirects and waits out passing refusals."""
        self.check_host(url)
        if self.offline:
            raise OfflineError(f"{_shown(url)} is not in the cache; run once without --offline")
        for attempt in range(1, self._attempts + 1):
            try:
                answer = self._follow(method, self.resolve(url), headers)
            except (requests.ConnectionError, requests.Timeout) as error:
                if attempt == self._attempts:
                    raise HttpError(f"{_shown(url)} cannot be reached: {_plain(error)}; check the network") from error
                self._sleep(_backoff(attempt))
                continue
            if answer.status_code in wanted:
                return answer
            answer.close()
            if answer.status_code not in _PASSING or attempt == self._attempts:
                raise self._refusal(url, answer)
            wait = _retry_after(answer.headers.get("Retry-After"))
            if wait is not None and wait > _LONGEST_WAIT:
                raise HttpError(
                    f"{_shown(url)} asks to wait {wait:.0f} s (HTTP {answer.status_code}); run the command again later",
                    status=answer.status_code,
                )
            self._sleep(_backoff(attempt) if wait is None else wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _follow(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        hub = urlsplit(self.endpoint)
        for _ in range(_MOST_REDIRECTS):
            parts = urlsplit(url)
            # Compressed answers would make ranges and lengths meaningless.
            sent = {"Accept-Encoding": "identity", "User-Agent": "nemo-skills-specdec", **headers}
            if self._token is not None and (parts.scheme, parts.netloc) == (hub.scheme, hub.netloc):
                sent["Authorization"] = f"Bearer {self._token}"
            self.requests_sent += 1
            answer = self._session.request(
                method, url, headers=sent, stream=True, timeout=self._timeout, allow_redirects=False
            )
            if not answer.is_redirect:
                return answer
            answer.close()
            url = urljoin(url, answer.headers["Location"])
            target = urlsplit(url)
            if target.scheme != "https" and target.netloc.lower() not in self._plain_hosts:
                raise HttpError(f"{_shown(url)} is a redirect away from HTTPS, which is not followed")
        raise HttpError(f"{_shown(url)} redirects without end")

    def _refusal(self, url: str, answer: requests.Response) -> HttpError:
        status = answer.status_code
        code = answer.headers.get("X-Error-Code")
        reasons = {
            401: "it wants another token; log in with: hf auth login",
            403: "access is not granted",
            404: "it does not exist",
            429: "too many requests; wait a while and run the command again",
        }
        reason = reasons.get(status, "try again later" if status >= 500 else "the server refuses")
        return HttpError(f"{_shown(url)} answers HTTP {status}: {reason}", status=status, code=code)


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _remote_file(answer: requests.Response) -> RemoteFile:
    headers = answer.headers
    size: int | None = None
    if answer.status_code == 206:
        total = headers.get("Content-Range", "").rpartition("/")[2]
        size = int(total) if total.isdigit() else None
    elif headers.get("Content-Length", "").isdigit():
        size = int(headers["Content-Length"])
    etag = headers.get("ETag")
    return RemoteFile(size, etag.removeprefix("W/") if etag else None)


def _range_header(start: int, stop: int | None) -> dict[str, str]:
    if start == 0 and stop is None:
        return {}
    return {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}


def _backoff(failures: int) -> float:
    return float(min(30.0, 0.5 * 2**failures))


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for; it holds a number or a date."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _shown(url: str) -> str:
    """An address fit for messages: without a query, which may hold a signature, and without credentials."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else url


def _plain(error: Exception) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else 'no reason given'}"
