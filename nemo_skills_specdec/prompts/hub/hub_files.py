"""The hub's file system, whose ranges are checked, retried, counted and kept as all else that is read here."""

from __future__ import annotations

from typing import Any

from huggingface_hub import HfFileSystem
from huggingface_hub.hf_file_system import HfFileSystemFile

from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.repository import Repository, RepositoryFile


class CheckedFileSystem(HfFileSystem):
    """Opens one file of a repository that has been looked up before.

    What the hub's client would ask the hub for again, and offline could not, is answered from what is known.
    """

    def __init__(
        self, fetcher: Fetcher, cache: Cache, repository: Repository, file: RepositoryFile, *, keep: bool, **more: Any
    ) -> None:
        """Reads with `fetcher`; ranges go to `cache` if they are to be kept."""
        super().__init__(endpoint=fetcher.endpoint, token=fetcher.token or False, **more)
        self.fetcher, self.cache, self.keep = fetcher, cache, keep
        self.repository, self.file = repository, file

    def _repo_and_revision_exist(self, *args: Any, **options: Any) -> tuple[bool, None]:
        return True, None

    def info(self, path: str, *args: Any, **options: Any) -> dict[str, Any]:
        """The properties of the file, as the repository lists them."""
        if self.file.size is None:
            return dict(super().info(path, *args, **options))
        return {"name": path, "size": self.file.size, "type": "file"}

    def _open(self, path: str, mode: str = "rb", *args: Any, **options: Any) -> CheckedFile:
        return CheckedFile(self, path, mode=mode, **{name: v for name, v in options.items() if v is not None})


class CheckedFile(HfFileSystemFile):
    """A file on the hub."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        fs: CheckedFileSystem = self.fs
        url = fs.repository.url(fs.file.path)
        return fs.cache.range(fs.fetcher, url, start, end, fs.file.size, keep=fs.keep)
