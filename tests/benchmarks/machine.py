"""What the figures were measured on: cores, versions, and how long the disk takes to promise a write."""

import os
import platform
import sqlite3
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .figures import percentile

SHOWN = ("aiohttp", "uvloop", "SQLAlchemy", "flask", "gunicorn", "fastapi", "uvicorn", "aiosqlite")


def sync_times(folder: Path, count: int = 200) -> list[float]:
    """Seconds that each of ``count`` appended 4 KiB blocks in ``folder`` took to reach the disk."""
    times = list[float]()
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(count):
            begin = time.perf_counter()
            file.write(b"\0" * 4096)
            # SQLite calls the same on Linux; where it is missing, fsync is what is left.
            getattr(os, "fdatasync", os.fsync)(file.fileno())
            times.append(time.perf_counter() - begin)
    return times


def cores() -> tuple[int, int] | None:
    """A core for the server and one for the generator; None where there are not two, or they cannot be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else None


def processor() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def facts(folder: Path) -> list[str]:
    """Lines about this machine and what runs on it."""
    syncs = sync_times(folder)
    return [
        f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        + ", ".join(f"{name} {found}" for name in SHOWN if (found := _version(name))),
        f"fdatasync of 4 KiB in {folder.parent}: p50 {percentile(syncs, 0.5) * 1e3:.2f} ms,"
        f" p99 {percentile(syncs, 0.99) * 1e3:.2f} ms",
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
