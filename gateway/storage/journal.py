"""A local file that keeps what the database could not take, until it can.

Each line is a CRC-32 of its text and a JSON object; a line that was torn by a crash fails its checksum and is
left out. One process owns one file, by a lock it cannot keep after its death, so a file without a living owner
is taken over by whoever starts next.
"""

import fcntl
import json
import os
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway import log

_log = log.get("journal")

_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND


class Journal:
    """Appends entries durably; ``take`` gives the files that wait, this process's own included. Threads share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"journal-{os.getpid()}-{os.urandom(3).hex()}.log"
        self._file: int | None = None
        self._turn = threading.Lock()

    def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Write entries and wait until they are on the disk; OSError when they are not. Blocks: call in a thread."""
        with self._turn:
            if self._file is None:
                # It has its name only when it is locked: one without an owner would be taken, and deleted.
                new = self._path.with_suffix(".new")
                self._file = os.open(new, _APPENDING, 0o600)
                fcntl.flock(self._file, fcntl.LOCK_EX)
                new.rename(self._path)
            _append(self._file, entries)

    @property
    def aside(self) -> Path:
        """Where entries are kept that the database will not take, for people to read."""
        return self._folder / "refused.log"

    def set_aside(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Keep entries that the database will not take; like ``append``."""
        file = os.open(self.aside, _APPENDING, 0o600)
        try:
            _append(file, entries)
        finally:
            os.close(file)

    def take(self) -> list[Path]:
        """Close the own file; every file that no living process owns, oldest first. Blocks: call in a thread."""
        with self._turn:
            if self._file is not None:
                os.close(self._file)
                self._file = None
                self._path = self._folder / f"journal-{os.getpid()}-{os.urandom(3).hex()}.log"
            found = sorted(self._folder.glob("journal-*.log"), key=lambda path: path.stat().st_mtime)
            return [path for path in found if not _owned(path)]

    def close(self) -> None:
        """Let go of the file; it stays for the next start unless it was replayed."""
        with self._turn:
            if self._file is not None:
                os.close(self._file)
                self._file = None


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole entry of a journal file, in order; torn or altered lines are logged and passed over."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            checksum, _, text = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
                _log.warning("journal_line_unreadable", file=path.name, line=number)
                continue
            yield json.loads(text)


def _append(file: int, entries: Sequence[Mapping[str, Any]]) -> None:
    data = memoryview(b"".join(map(_line, entries)))
    while data:
        data = data[os.write(file, data) :]
    os.fdatasync(file)


def _line(entry: Mapping[str, Any]) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _owned(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
