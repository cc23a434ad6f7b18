"""The hub's file system, whose ranges are checked, retried, counted and kept as all else that is read here."""

from __future__ import annotations

from typing import Any

from huggingface_hub import HfFileSystem
from huggingface_hub.hf_file_system import HfFileSystemFile

from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher


class CheckedFileSystem(HfFileSystem):
    """Opens files of repositories that have been looked up before, at a commit."""

    def __init__(self, fetcher: Fetcher, cache: Cache, *, keep: bool, **options: Any) -> None:
        """Reads with `fetcher`; ranges go to `cache` if they are to be kept."""
        super().__init__(endpoint=fetcher.endpoint, token=fetcher.token or False, **options)
        self.fetcher, self.cache, self.keep = fetcher, cache, keep

    def _repo_and_revision_exist(self, *args: Any, **options: Any) -> tuple[bool, None]:
        # Asking again would cost a request for each file, and one where nothing may be sent.
        return True, None

    def _open(self, path: str, mode: str = "rb", *args: Any, **options: Any) -> CheckedFile:
        return CheckedFile(self, path, mode=mode, **{name: v for name, v in options.items() if v is not None})


class CheckedFile(HfFileSystemFile):
    """A file on the hub."""

    def __init__(self, fs: CheckedFileSystem, path: str, *, address: str, **options: Any) -> None:
        """Opens `path`, whose public address is `address`; the hub's client would ask the hub for it."""
        super().__init__(fs, path, **options)
        self.address = address

    def _fetch_range(self, start: int, end: int) -> bytes:
        fs: CheckedFileSystem = self.fs
        return fs.cache.range(fs.fetcher, self.address, start, end, self.size, keep=fs.keep)
