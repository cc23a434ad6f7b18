"""Data set repositories on the hub: their files at a revision, who may read them, and whole files of them."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import msgspec

from nemo_skills_specdec.errors import DataError, UsageError, WriteError
from nemo_skills_specdec.files import sha256_of_file, write_atomically
from nemo_skills_specdec.prompts.hub.cache import Cache, StoredFile
from nemo_skills_specdec.prompts.hub.http import HUB, Fetcher, OfflineError
from nemo_skills_specdec.prompts.hub.patience import (
    PASSING_STATUSES,
    HttpError,
    PassingError,
    network_errors,
    reason_of,
)
from nemo_skills_specdec.retry_after import retry_after

_ADDRESS = re.compile(rf"{HUB}/datasets/([^/]+/[^/]+)/(?:raw|resolve)/([^/]+)/(.+)")

T = TypeVar("T")


class GatedError(UsageError):
    """The repository is gated, and this user may not read it (yet)."""


class TokenError(UsageError):
    """The access token is not valid."""


class RepositoryFile(msgspec.Struct, frozen=True):
    """One file of a repository.

    Attributes:
        size: in bytes, if the hub says.
        sha256: of the content, where the hub lists it (large files).
        blob_id: git's hash of the content, which the hub lists for small files.
    """

    path: str
    size: int | None = None
    sha256: str | None = None
    blob_id: str | None = None


class Repository(msgspec.Struct, frozen=True):
    """A data set repository at one commit.

    Attributes:
        repo_id: owner/name.
        sha: the commit.
    """

    repo_id: str
    sha: str
    files: tuple[RepositoryFile, ...]

    def url(self, path: str) -> str:
        """The address of a file at this commit."""
        return f"{HUB}/datasets/{self.repo_id}/resolve/{self.sha}/{quote(path)}"

    def file(self, path: str) -> RepositoryFile:
        """What the hub says about a file.

        Raises:
            DataError: there is none at that path.
        """
        for file in self.files:
            if file.path == path:
                return file
        raise DataError(f"{self.repo_id} at {self.sha[:12]} has no file {path}; was the source changed?")


def hub_address(url: str) -> tuple[str, str, str] | None:
    """Repository, revision and path of a file of a data set on the hub; None for an address elsewhere."""
    match = _ADDRESS.fullmatch(url)
    return (match[1], unquote(match[2]), unquote(match[3])) if match else None


def open_repository(fetcher: Fetcher, cache: Cache, repo_id: str, revision: str = "main") -> Repository:
    """The files of a repository at a revision.

    What a branch or tag meant the first time stays in the cache, so that a run that resumes later, or prepares another
    config, sees the same commit. Offline, what the hub's own cache holds of the repository serves as well.

    Raises:
        GatedError: no access; says how to get it.
        TokenError: the token is not valid.
        UsageError: no such repository or revision.
    """
    from huggingface_hub import HfApi

    stored = cache.document(f"repository {fetcher.endpoint} {repo_id} {revision} blobs")
    if stored.exists():
        return msgspec.json.decode(stored.read_bytes(), type=Repository)
    if fetcher.offline:
        return _cached_repository(fetcher, repo_id, revision)
    api = HfApi(endpoint=fetcher.endpoint, token=fetcher.token or False)
    info = _asked(
        fetcher,
        repo_id,
        revision,
        lambda: api.dataset_info(repo_id, revision=revision, files_metadata=True, timeout=60.0),
    )
    files = tuple(
        RepositoryFile(s.rfilename, s.size, s.lfs.sha256 if s.lfs else None, s.blob_id) for s in info.siblings or ()
    )
    repository = Repository(repo_id, str(info.sha), files)
    write_atomically(stored, msgspec.json.encode(repository))
    return repository


def check_access(fetcher: Fetcher, repo_id: str) -> None:
    """Makes sure that a repository may be read, with one small request.

    Raises:
        GatedError: no access; says how to get it.
        TokenError: the token is not valid.
    """
    try:
        for _ in fetcher.stream(f"{HUB}/api/datasets/{repo_id}/auth-check", name=f"access to {repo_id}"):
            pass
    except HttpError as error:
        raise explained(error, fetcher, repo_id, "main") from error


def local_copy(repository: Repository, file: RepositoryFile) -> Path | None:
    """A whole file of a repository in the hub's cache; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        repository.repo_id, file.path, cache_dir=hub_cache(), revision=repository.sha, repo_type="dataset"
    )
    return Path(found) if isinstance(found, str) else None


def whole_file(fetcher: Fetcher, repository: Repository, file: RepositoryFile) -> StoredFile:
    """A whole file, from the hub's cache, to which it is fetched if need be. Its size and hash are checked each time.

    Raises:
        DataError: it is not what the hub lists; it is removed from the cache then.
        GatedError: no access; says how to get it.
    """
    path = local_copy(repository, file)
    if path is None:
        fetcher.check_online(repository.url(file.path))
        with fetcher.progress(f"{repository.repo_id} {file.path}", file.size, "bytes") as advance:
            download = partial(_download, fetcher, repository, file, advance)
            path = _asked(fetcher, repository.repo_id, repository.sha, download)
        fetcher.bytes_received += path.stat().st_size
    size, digest = path.stat().st_size, sha256_of_file(path)
    same = digest == file.sha256 if file.sha256 else file.blob_id in (None, _git_blob_id(path))
    if not same or size != (file.size if file.size is not None else size):
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise DataError(
            f"{path} is not the file {file.path} of {repository.repo_id} that the hub lists (size or hash differs); "
            "it was removed from the cache, run the command again"
        )
    return StoredFile(str(path), size, digest)


def _download(fetcher: Fetcher, repository: Repository, file: RepositoryFile, advance: Callable[[int], object]) -> Path:
    from huggingface_hub import hf_hub_download
    from tqdm.auto import tqdm

    class ReportingBar(tqdm):  # type: ignore[misc]
        """The bar of the hub's client, drawn by ours."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            advance(int(n or 0))

    # Before 1.0 the hub's client draws its own bar.
    bar: dict[str, Any] = {"tqdm_class": ReportingBar}
    if "tqdm_class" not in signature(hf_hub_download).parameters:
        bar = {}
    try:
        # It warns before a disk is full, which is told when it is.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = hf_hub_download(
                repository.repo_id,
                file.path,
                repo_type="dataset",
                revision=repository.sha,
                endpoint=fetcher.endpoint,
                token=fetcher.token or False,
                cache_dir=hub_cache(),
                **bar,
            )
    except OSError as error:
        if error.errno is None:
            _remove_incomplete(repository, file)
        raise
    return Path(path)


def _remove_incomplete(repository: Repository, file: RepositoryFile) -> None:
    """Removes the beginning of a file, which the next download would resume."""
    blobs = hub_cache() / f"datasets--{repository.repo_id.replace('/', '--')}" / "blobs"
    for path in blobs.glob(f"{file.sha256 or file.blob_id}*.incomplete"):
        path.unlink(missing_ok=True)


def hub_cache() -> Path:
    """The hub's cache: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else where `huggingface_hub` has it."""
    from huggingface_hub import constants

    home = os.environ.get("HF_HOME")
    return Path(os.environ.get("HF_HUB_CACHE") or (Path(home) / "hub" if home else constants.HF_HUB_CACHE)).expanduser()


def _cached_repository(fetcher: Fetcher, repo_id: str, revision: str) -> Repository:
    """What the hub's cache holds of a repository at a revision."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repo_id, repo_type="dataset", revision=revision, cache_dir=hub_cache(), local_files_only=True
        )
    except LocalEntryNotFoundError as error:
        fetcher.check_online(f"{repo_id} at {revision}")
        raise AssertionError("unreachable: the line before raises offline") from error
    folder = Path(found)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = (RepositoryFile(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths)
    fetcher.patience.say(
        f"{repo_id}: only the {len(paths)} files of it in the hub's cache are known, as nothing is sent"
    )
    return Repository(repo_id, folder.name, tuple(files))


def _asked(fetcher: Fetcher, repo_id: str, revision: str, ask: Callable[[], T]) -> T:
    """What the hub's client returns, with passing failures waited out and the others explained."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    where = fetcher.named(f"{HUB}/datasets/{repo_id}")
    failures: tuple[type[Exception], ...] = (HfHubHTTPError, LocalEntryNotFoundError, *network_errors())

    def attempt() -> T:
        try:
            return ask()
        except OfflineModeIsEnabled as error:
            raise OfflineError(f"{where} is not in the cache; run once without HF_HUB_OFFLINE") from error
        except failures as error:
            # A download that could not ask for the file's properties hides why.
            cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
            answer = getattr(cause, "response", None)
            if answer is None:
                raise PassingError(f"{where} cannot be reached ({reason_of(error)})") from error
            if answer.status_code in PASSING_STATUSES:
                raise PassingError(
                    f"{where} answers HTTP {answer.status_code}",
                    status=answer.status_code,
                    retry_after=retry_after(answer.headers.get("Retry-After")),
                ) from error
            code = answer.headers.get("X-Error-Code")
            refusal = HttpError(f"{where} answers HTTP {answer.status_code}", status=answer.status_code, code=code)
            raise explained(refusal, fetcher, repo_id, revision) from error
        except HFValidationError as error:
            raise UsageError(f"{repo_id!r} is not the name of a data set on the hub; give owner/name") from error
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where} does not answer as a hub does; check HF_ENDPOINT") from error
        except OSError as error:
            if error.errno is None:
                # What came is not what was announced.
                reason = str(error).splitlines()[0].partition(" (")[0]
                raise DataError(f"{where}: {reason}; nothing of it was kept, run the command again") from error
            raise WriteError(f"cannot write {hub_cache()}: {error.strerror}; free space or set HF_HOME") from error

    return fetcher.patience.result_of(attempt)


def explained(error: HttpError, fetcher: Fetcher, repo_id: str, revision: str) -> UsageError:
    """The error that names what the user can do, made from what the hub answered."""
    page = f"{HUB}/datasets/{repo_id}"
    hub = "the hub" if fetcher.endpoint == HUB else f"the hub at {fetcher.endpoint} (HF_ENDPOINT)"
    if error.code == "GatedRepo" and error.status == 401:
        return GatedError(
            f"{repo_id} is gated and no access token is set; accept its terms at {page} (access is given at once), "
            "then run: hf auth login (or set HF_TOKEN)"
        )
    if error.code == "GatedRepo" or error.status == 403:
        return GatedError(
            f"{repo_id} is gated and your account has no access yet; accept its terms at {page} while logged in, "
            "then run the command again"
        )
    if error.code == "RevisionNotFound":
        return UsageError(f"{repo_id} has no revision {revision!r}; see {page}/commits/main for those it has")
    if error.status == 401 and fetcher.token is not None:
        return TokenError(
            f"{hub} rejects the access token as invalid; log in again with: hf auth login (or correct HF_TOKEN)"
        )
    if error.code == "RepoNotFound" or error.status in (401, 404):
        return UsageError(f"{hub} knows no data set {repo_id} that may be read without a token; check the name")
    return error


def _git_blob_id(path: Path) -> str:
    """The hash by which git knows a file: SHA-1 over its length and content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
