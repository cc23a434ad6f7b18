"""Reads over HTTP: allowed hosts only, every answer checked, retried and resumed, with a count of the bytes.

What the hub's own client does not do is done here: plain files on other hosts, ranges whose place and version are
checked, streams that stop early, and a token that no other host gets to see.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from urllib.parse import urljoin, urlsplit

import msgspec
import requests

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.hub.patience import (
    PASSING_STATUSES,
    HttpError,
    PassingError,
    Patience,
    network_errors,
    reason_of,
)
from nemo_skills_specdec.retry_after import retry_after

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

# What comes of a piece before the connection breaks is lost, so pieces are small.
_CHUNK = 1 << 15
_MOST_REDIRECTS = 6
_CONNECT_SECONDS = 10.0


class ChangedError(HttpError):
    """The file at an address is no longer the one of which parts were read."""


class OfflineError(UsageError):
    """Something is needed that the cache does not hold, and the network must not be used."""


DownloadProgress = Callable[[str, int | None, str], AbstractContextManager[Callable[[int], object]]]
"""Shows a piece of work, given its name, its size if known, and the unit of the size, until the context is left.

What the context gives is called with the number of units done since the last call.
"""


@contextmanager
def no_progress(name: str, total: int | None, unit: str) -> Iterator[Callable[[int], object]]:
    """Shows nothing."""
    yield lambda count: None


class FileVersion(msgspec.Struct, frozen=True):
    """What tells one version of a file from another, as far as a server says it.

    Attributes:
        size: in bytes.
        etag: changes when the content does.
        last_modified: as the server writes it.
    """

    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None

    def change_to(self, other: FileVersion) -> str | None:
        """The first property in which `other` is another version; None if both may be the same."""
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None and theirs is not None and _comparable(mine) != _comparable(theirs):
                return f"{name.replace('_', ' ')} {theirs} instead of {mine}"
        return None


class Fetcher:
    """Reads from allowed hosts.

    Addresses that begin with https://huggingface.co are read from the endpoint in use (`HF_ENDPOINT`), and the token
    goes to that endpoint alone. With `HF_HUB_OFFLINE` set, nothing is sent.
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        token: str | None = None,
        hosts: Iterable[str] = (),
        offline: bool = False,
        patience: Patience | None = None,
        timeout: float = 60.0,
        progress: DownloadProgress = no_progress,
    ) -> None:
        """Prepares a reader; nothing is sent yet.

        Args:
            endpoint: address of the hub; None takes `HF_ENDPOINT`, else the public one.
            hosts: further hosts that may be read, as `host` or `host:port`; plain http is accepted for them.
            offline: refuse every request.
            timeout: seconds to wait for each piece of data.
        """
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        self.offline = offline or hub_is_offline()
        self.patience = patience or Patience()
        self.progress = progress
        self.token = token
        self.bytes_received = 0
        self._hosts = DEFAULT_HOSTS | {host.lower() for host in hosts}
        self._plain_hosts = {host.lower() for host in hosts} | {urlsplit(self.endpoint).netloc.lower()}
        self._timeout = timeout
        self._session = requests.Session()
        # Without this, requests would take credentials for any host out of ~/.netrc.
        self._session.auth = _no_auth

    def named(self, url: str) -> str:
        """An address as messages show it: with the endpoint that stands in for the hub, if one does."""
        shown = without_secrets(url)
        return f"{shown} (HF_ENDPOINT is {self.endpoint})" if self.endpoint != HUB and shown.startswith(HUB) else shown

    def check_host(self, url: str) -> None:
        """Refuses an address that leads to a host not allowed.

        Raises:
            UsageError: names the host and the option that allows it.
        """
        parts = urlsplit(self._resolved(url))
        host = parts.netloc.rpartition("@")[2].lower()
        if host in self._plain_hosts and parts.scheme in ("http", "https"):
            return
        if parts.scheme != "https" or host not in self._hosts:
            raise UsageError(
                f"{without_secrets(url)} leads to {parts.scheme or 'no scheme'}://{host}, which is not among the "
                f"allowed hosts; if you trust it, allow it with --allow-host {host or 'HOST'}"
            )

    def check_online(self, what: str) -> None:
        """Refuses to send anything where that is forbidden.

        Raises:
            OfflineError: names what is missing.
        """
        if self.offline:
            raise OfflineError(f"{what} is not in the cache; run once without --offline and without HF_HUB_OFFLINE")

    def stream(
        self,
        url: str,
        start: int = 0,
        stop: int | None = None,
        *,
        known: FileVersion | None = None,
        name: str,
        versions: list[FileVersion] | None = None,
    ) -> Generator[bytes, None, None]:
        """Yields the bytes from `start` on, asking again from where it stopped when the connection breaks.

        Args:
            stop: end of the range, exclusive; None reads to the end.
            known: version that the bytes must be of, as far as it is known.
            versions: gets the version of the file, once the server has answered.

        Raises:
            ChangedError: the file is, or becomes meanwhile, another than the known one.
            HttpError: the server refuses, answers something else, or too many attempts brought no new byte.
        """
        position, failures = start, 0
        known = known or FileVersion()
        advance: Callable[[int], object] | None = None
        with ExitStack() as bar:
            while True:
                try:
                    with closing(self._send(url, _range_headers(position, stop, known))) as answer:
                        known = self._checked(url, answer, position, stop, known)
                        if versions is not None:
                            versions.append(known)
                        end = known.size if stop is None else stop
                        if advance is None:
                            total = None if end is None else end - start
                            advance = bar.enter_context(self.progress(name, total, "bytes"))
                        for piece in self._pieces(answer, position, end):
                            position, failures = position + len(piece), 0
                            advance(len(piece))
                            yield piece
                    if end is None or position >= end:
                        return
                    problem = PassingError(f"{self.named(url)} ended after {position} of {end} bytes")
                except network_errors() as error:
                    problem = PassingError(f"{self.named(url)} could not be read ({reason_of(error)})")
                failures += 1
                self.patience.wait(failures, problem)

    def _pieces(self, answer: requests.Response, position: int, end: int | None) -> Iterator[bytes]:
        """The bytes of an answer from `position` to `end`; a server that ignores ranges sends those before, too."""
        if answer.status_code == 416:
            return
        skip = position if answer.status_code == 200 else 0
        left = None if end is None else end - position
        for chunk in answer.iter_content(_CHUNK):
            self.bytes_received += len(chunk)
            piece = chunk[skip:] if left is None else chunk[skip : skip + left]
            skip = max(0, skip - len(chunk))
            if piece:
                left = None if left is None else left - len(piece)
                yield piece
            if left == 0:
                return

    def _checked(
        self, url: str, answer: requests.Response, start: int, stop: int | None, known: FileVersion
    ) -> FileVersion:
        """The version of the file in an answer, which must hold what was asked for, of the version known so far."""
        headers = answer.headers
        if headers.get("Content-Type", "").startswith("text/html"):
            raise HttpError(f"{self.named(url)} answers with a web page instead of the file; check proxy and login")
        first, last, total = _content_range(headers.get("Content-Range", ""))
        if answer.status_code == 200:
            length = headers.get("Content-Length", "")
            first, last, total = start, None, int(length) if length.isdigit() else None
        found = FileVersion(total, headers.get("ETag"), headers.get("Last-Modified"))
        change = known.change_to(found)
        if change is not None:
            raise ChangedError(f"{self.named(url)} changed at its source ({change}); run the command again")
        if answer.status_code != 416 and (first != start or (stop is not None and last not in (None, stop - 1))):
            raise HttpError(
                f"{self.named(url)} answers with other bytes than asked for: "
                f"{headers.get('Content-Range', 'no range')} instead of {start}-{'' if stop is None else stop - 1}"
            )
        version = FileVersion(*(getattr(known, name) or getattr(found, name) for name in found.__struct_fields__))
        if version.size is not None and version.size < (start if stop is None else stop):
            raise ChangedError(f"{self.named(url)} has {version.size} bytes, {stop or start} were expected")
        if answer.status_code == 416 and version.size != start:
            raise HttpError(f"{self.named(url)} refuses to send the bytes from {start} on; try again later")
        return version

    def _send(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Sends a request, follows redirects and waits out passing refusals."""
        self.check_host(url)
        self.check_online(without_secrets(url))

        def attempt() -> requests.Response:
            try:
                answer = self._follow(self._resolved(url), headers)
            except network_errors() as error:
                raise PassingError(f"{self.named(url)} cannot be reached ({reason_of(error)})") from error
            if answer.status_code in (200, 206, 416):
                return answer
            answer.close()
            if answer.status_code in PASSING_STATUSES:
                raise PassingError(
                    f"{self.named(url)} answers HTTP {answer.status_code}",
                    status=answer.status_code,
                    retry_after=retry_after(answer.headers.get("Retry-After")),
                )
            raise self._refusal(url, answer)

        return self.patience.result_of(attempt)

    def _follow(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        hub = urlsplit(self.endpoint)
        for _ in range(_MOST_REDIRECTS):
            parts = urlsplit(url)
            # Compressed answers would make ranges and lengths meaningless.
            sent = {"Accept-Encoding": "identity", "User-Agent": "nemo-skills-specdec", **headers}
            if self.token is not None and (parts.scheme, parts.netloc) == (hub.scheme, hub.netloc):
                sent["Authorization"] = f"Bearer {self.token}"
            answer = self._session.get(
                url, headers=sent, stream=True, timeout=(_CONNECT_SECONDS, self._timeout), allow_redirects=False
            )
            if not answer.is_redirect:
                return answer
            answer.close()
            url = urljoin(url, answer.headers["Location"])
            target = urlsplit(url)
            if target.scheme != "https" and target.netloc.lower() not in self._plain_hosts:
                raise HttpError(f"{without_secrets(url)} is a redirect away from HTTPS, which is not followed")
        raise HttpError(f"{without_secrets(url)} redirects without end")

    def _resolved(self, url: str) -> str:
        return self.endpoint + url.removeprefix(HUB) if url.startswith(HUB + "/") else url

    def _refusal(self, url: str, answer: requests.Response) -> HttpError:
        status, code = answer.status_code, answer.headers.get("X-Error-Code")
        reasons = {
            401: "the token was rejected, or one is needed; log in with: hf auth login",
            403: "access is not granted",
            404: "it does not exist",
        }
        reason = reasons.get(status, "the server refuses")
        gated = re.match(rf"{HUB}/datasets/([^/]+/[^/]+)/", url) if code == "GatedRepo" else None
        if gated is not None:
            reason = f"{gated[1]} is gated; accept its terms at {HUB}/datasets/{gated[1]}, then: hf auth login"
        return HttpError(f"{self.named(url)} answers HTTP {status}: {reason}", status=status, code=code)


def hub_is_offline() -> bool:
    """Whether the environment forbids the network, as `HF_HUB_OFFLINE` does for all of the hub's tools."""
    return (os.environ.get("HF_HUB_OFFLINE") or "").upper() in ("1", "ON", "YES", "TRUE")


def without_secrets(url: str) -> str:
    """An address fit for messages: without a query, which may hold a signature, and without credentials."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else url


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _comparable(value: str | int) -> str:
    """An entity tag without the mark of a weak one, which servers set and drop for the same content."""
    return str(value).removeprefix("W/")


def _content_range(value: str) -> tuple[int | None, int | None, int | None]:
    """First byte, last byte and total size of a `Content-Range` header; None for what it does not say."""
    match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", value.strip())
    if match is None:
        return None, None, None
    first, last, total = (int(text) if text is not None and text.isdigit() else None for text in match.groups())
    return first, last, total


def _range_headers(start: int, stop: int | None, known: FileVersion) -> dict[str, str]:
    """Asks for a range, and for the whole file instead if it is no longer the known one."""
    if start == 0 and stop is None:
        return {}
    asked = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
    # A weak tag must not be sent here.
    unchanged = known.etag if known.etag is not None and not known.etag.startswith("W/") else known.last_modified
    return {**asked, "If-Range": unchanged} if unchanged else asked
