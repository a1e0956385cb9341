"""Copies the embedded database into a file as it is at one moment, while it is written to.

It blocks: call it in a thread.
"""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

# A step of 256 KiB is on the disk before the next one, and as long as it took the disk is left to the calls' commits.
_PAGES = 64


def copy_database(source: Path, target: Path) -> int:
    """Copy the database at ``source`` to ``target``, which is there as a whole or not at all; returns its bytes.

    One read transaction holds the moment that is copied: without it every write would start the copy anew.
    Raises OSError where there is no room.
    """
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    needed = source.stat().st_size
    if shutil.disk_usage(target.parent).free < needed * 1.1:
        raise OSError(f"there is no room for {needed:,} bytes beside {target}")
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(_reader(source)) as reading, closing(sqlite3.connect(part)) as copy, part.open("rb") as written:
            began = time.monotonic()

            def step(*_: int) -> None:
                nonlocal began
                os.fdatasync(written.fileno())
                time.sleep(time.monotonic() - began)
                began = time.monotonic()

            copy.execute("PRAGMA synchronous=OFF")
            reading.backup(copy, pages=_PAGES, progress=step)
            # A file of its own, without a log beside it.
            copy.execute("PRAGMA journal_mode=DELETE")
            os.fsync(written.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return target.stat().st_size


def _reader(source: Path) -> sqlite3.Connection:
    reading = sqlite3.connect(source, timeout=5.0, isolation_level=None)
    reading.execute("PRAGMA query_only=ON")
    reading.execute("BEGIN")
    reading.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return reading
