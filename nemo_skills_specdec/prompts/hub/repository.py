"""Data set repositories on the hub: their files at a revision, and who may read them."""

from __future__ import annotations

import fnmatch
from typing import Any
from urllib.parse import quote

import msgspec

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import HUB, Fetcher, HttpError

DATA_SUFFIXES = (".parquet", ".jsonl", ".json", ".jsonl.gz")


class GatedError(UsageError):
    """The repository is gated, and this user may not read it (yet)."""


class TokenError(UsageError):
    """The access token is not valid."""


class RepositoryFile(msgspec.Struct, frozen=True):
    """One file of a repository.

    Attributes:
        path: inside the repository.
        size: in bytes, if the hub says.
        sha256: of the content, where the hub lists it (large files).
    """

    path: str
    size: int | None = None
    sha256: str | None = None


class Repository(msgspec.Struct, frozen=True):
    """A data set repository at one commit.

    Attributes:
        repo_id: owner/name.
        sha: the commit.
        files: everything in it.
    """

    repo_id: str
    sha: str
    files: tuple[RepositoryFile, ...]

    def url(self, path: str) -> str:
        """The address of a file at this commit."""
        return f"{HUB}/datasets/{self.repo_id}/resolve/{self.sha}/{quote(path)}"


def open_repository(fetcher: Fetcher, cache: Cache, repo_id: str, revision: str = "main") -> Repository:
    """The files of a repository at a revision.

    What a branch or tag meant the first time stays in the cache, so that a run that goes on later, or prepares another
    config, sees the same commit.

    Raises:
        GatedError: no access; says how to get it.
        TokenError: the token is not valid.
        UsageError: no such repository or revision.
    """
    key = f"{fetcher.endpoint} {repo_id} {revision}"
    stored = cache.document(f"repository {key}")
    if stored.exists():
        return msgspec.json.decode(stored.read_bytes(), type=Repository)
    url = f"{HUB}/api/datasets/{repo_id}/revision/{quote(revision, safe='')}?blobs=true"
    try:
        answer = fetcher.json(url)
    except HttpError as error:
        raise explained(error, repo_id, revision, has_token=fetcher.has_token) from error
    try:
        sha = str(answer["sha"])
        files = tuple(_file(entry) for entry in answer["siblings"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{fetcher.endpoint} does not describe {repo_id} as a hub does; check HF_ENDPOINT") from error
    repository = Repository(repo_id, sha, files)
    write_atomically(stored, msgspec.json.encode(repository))
    return repository


def check_access(fetcher: Fetcher, repo_id: str) -> None:
    """Makes sure that a repository may be read, with one small request.

    Raises:
        GatedError: no access; says how to get it.
        TokenError: the token is not valid.
    """
    try:
        fetcher.read(f"{HUB}/api/datasets/{repo_id}/auth-check")
    except HttpError as error:
        raise explained(error, repo_id, "main", has_token=fetcher.has_token) from error


def explained(error: HttpError, repo_id: str, revision: str, *, has_token: bool) -> UsageError:
    """The error that names what the user can do, made from what the hub answered."""
    page = f"{HUB}/datasets/{repo_id}"
    if error.code == "GatedRepo":
        if error.status == 401:
            return GatedError(
                f"{repo_id} is gated and no access token is set; accept its terms at {page} (access is given at once), "
                "then run: hf auth login (or set HF_TOKEN)"
            )
        return GatedError(
            f"{repo_id} is gated and your account has no access yet; accept its terms at {page} while logged in, "
            "then run the command again"
        )
    if error.code == "RevisionNotFound":
        return UsageError(f"{repo_id} has no revision {revision!r}; see {page}/commits/main for those it has")
    if error.status == 401 and has_token:
        return TokenError(
            "the hub refuses the access token as invalid; log in anew with: hf auth login (or correct HF_TOKEN)"
        )
    if error.code == "RepoNotFound" or error.status in (401, 404):
        return UsageError(f"the hub knows no data set {repo_id} that may be read without a token; check the name")
    return error


def data_files(
    fetcher: Fetcher, cache: Cache, repository: Repository, config: str | None, split: str
) -> tuple[RepositoryFile, ...]:
    """The files that hold one split of one config, in order.

    What the README declares goes first, then the usual places: `<config>/<split>-*`, `<config>/<split>.*`,
    `data/<split>-*` and so on.

    Raises:
        DataError: nothing fits; lists what there is.
    """
    candidates = [file for file in repository.files if file.path.lower().endswith(DATA_SUFFIXES)]
    names = {file.path: file for file in candidates}
    for patterns in (*_declared(fetcher, cache, repository, config, split), *_usual(config, split)):
        found = sorted(path for path in names if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns))
        if found:
            suffixes = [suffix for suffix in DATA_SUFFIXES if any(path.endswith(suffix) for path in found)]
            return tuple(names[path] for path in found if path.endswith(suffixes[0]))
    listed = ", ".join(sorted(names)[:8]) or "none"
    wanted = f"config {config!r}, split {split!r}" if config else f"split {split!r}"
    raise DataError(f"{repository.repo_id} at {repository.sha[:12]} has no data file for {wanted}; it has: {listed}")


def _file(entry: dict[str, Any]) -> RepositoryFile:
    lfs = entry.get("lfs") or {}
    size = entry.get("size", lfs.get("size"))
    return RepositoryFile(str(entry["rfilename"]), size, lfs.get("sha256") or lfs.get("oid"))


def _declared(
    fetcher: Fetcher, cache: Cache, repository: Repository, config: str | None, split: str
) -> list[list[str]]:
    """Patterns that the README's header gives for a config and split."""
    if not any(file.path == "README.md" for file in repository.files):
        return []
    from huggingface_hub import DatasetCard

    stored = cache.file(fetcher, repository.url("README.md"))
    with open(stored.path, encoding="utf-8") as file:
        header: dict[str, Any] = vars(DatasetCard(file.read(), ignore_metadata_errors=True).data)
    configs = header.get("configs") or []
    chosen = [c for c in configs if isinstance(c, dict) and (config is None or c.get("config_name") == config)]
    if config is None:
        chosen = [c for c in chosen if c.get("default") or c.get("config_name") == "default"] or chosen[:1]
    patterns: list[str] = []
    for entry in chosen:
        prefix = f"{entry['data_dir']}/" if entry.get("data_dir") else ""
        for data in _as_list(entry.get("data_files")):
            if isinstance(data, dict) and data.get("split", split) == split:
                patterns.extend(prefix + path for path in _as_list(data.get("path")) if isinstance(path, str))
            elif isinstance(data, str) and split in data:
                patterns.append(prefix + data)
    return [patterns] if patterns else []


def _usual(config: str | None, split: str) -> list[list[str]]:
    folders = [f"{config}/", f"data/{config}/"] if config else ["data/", "", "default/"]
    patterns = [[f"{folder}{split}-*", f"{folder}{split}.*", f"{folder}{split}[0-9]*"] for folder in folders]
    return [*patterns, [f"*{split}*"]] if config is None else [*patterns, [f"*{config}*{split}*"]]


def _as_list(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
