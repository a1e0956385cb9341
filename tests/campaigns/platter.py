"""A disk that forgets what was never synced: the model of a power cut.

``install`` makes this process copy each file, as it is at the moment of a successful sync, into a folder that
plays the platter. After the process has been killed, ``cut_power`` puts the platter's files in the place of those
that the kernel still remembers. It assumes the worst: whatever was not synced is gone.
"""

import ctypes
import os
import shutil
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_void_p, cast
from pathlib import Path
from typing import Any

_sqlite3 = __import__("_sqlite3")

# The name is passed on as the address that came: SQLite keeps it for as long as the file is open.
_XOpen = CFUNCTYPE(c_int, c_void_p, c_void_p, POINTER(c_void_p), c_int, c_void_p)
_XSync = CFUNCTYPE(c_int, c_void_p, c_int)


_CREATE, _JOURNALS = 0x4, 0x800 | 0x4000 | 0x80000  # flags of xOpen: main journal, super-journal, WAL


class _Vfs(ctypes.Structure):
    """The beginning of ``sqlite3_vfs`` (sqlite.org/c3ref/vfs.html)."""

    _fields_ = [
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", _XOpen),
    ]


class _Methods(ctypes.Structure):
    """``sqlite3_io_methods`` (sqlite.org/c3ref/io_methods.html), of which only ``sync`` is of interest."""

    _fields_ = [
        ("version", c_int),
        ("before", c_void_p * 4),
        ("sync", _XSync),
        ("after", c_void_p * 13),
    ]


class _Platter:
    def __init__(self, folder: Path, platter: Path) -> None:
        self.folder, self.platter = folder, platter
        self.paths: dict[int, str] = {}
        self.tables: dict[int, tuple[_Methods, Any]] = {}
        self.new_journals: set[int] = set()

    def keep(self, source: Path) -> None:
        """Remember the file as it is now. Killed half-way, the older copy stands, and nobody was told of the sync."""
        if not source.is_relative_to(self.folder):
            return
        target = self.platter / source.relative_to(self.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        half = target.with_name(f".{target.name}.half")
        shutil.copyfile(source, half)
        half.rename(target)

    def keep_folder(self, source: Path) -> None:
        """Let go of the files that were removed from a folder before it was synced."""
        for kept in (self.platter / source.relative_to(self.folder)).glob("*"):
            if kept.is_file() and not (source / kept.name).exists():
                kept.unlink()

    def methods(self, original: int) -> _Methods:
        """SQLite's table of file methods with a sync that keeps the file."""
        if original not in self.tables:
            table = _Methods.from_buffer_copy(ctypes.string_at(original, ctypes.sizeof(_Methods)))
            really_sync = _XSync(cast(table.sync, c_void_p).value or 0)

            def sync(file: int, flags: int) -> int:
                code: int = really_sync(file, flags)
                if code == 0 and self.paths.get(file):
                    path = Path(self.paths[file])
                    self.keep(path)
                    if file in self.new_journals:
                        self.new_journals.discard(file)
                        self.keep_folder(path.parent)
                return code

            callback = _XSync(sync)
            table.sync = callback
            self.tables[original] = table, callback
        return self.tables[original][0]


def install(folder: str, platter: str) -> None:
    """Let every sync in this process, SQLite's and Python's own, reach the platter."""
    disk = _Platter(Path(folder), Path(platter))
    library = ctypes.CDLL(_sqlite3.__file__)
    library.sqlite3_vfs_find.restype = POINTER(_Vfs)
    vfs = library.sqlite3_vfs_find(None).contents
    really_open = _XOpen(cast(vfs.open, c_void_p).value or 0)

    def open_file(owner: int, name: int | None, file: Any, flags: int, out: int | None) -> int:
        code: int = really_open(owner, name, file, flags, out)
        if code == 0 and file[0]:
            address = cast(file, c_void_p).value or 0
            disk.paths[address] = os.fsdecode(ctypes.string_at(name)) if name else ""
            # SQLite syncs the folder too when it first syncs a journal that it has made.
            (disk.new_journals.add if flags & _CREATE and flags & _JOURNALS else disk.new_journals.discard)(address)
            file[0] = ctypes.addressof(disk.methods(file[0]))
        return code

    vfs.open = _XOpen(open_file)
    for name in ("fsync", "fdatasync"):
        setattr(os, name, _keeping(disk, getattr(os, name)))
    globals()["_installed"] = disk, vfs, really_open  # callbacks must outlive every file


def _keeping(disk: _Platter, really: Any) -> Any:
    def sync(descriptor: int) -> None:
        really(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir() and path.is_relative_to(disk.folder):
            disk.keep_folder(path)
        elif path.is_file():
            disk.keep(path)

    return sync


def cut_power(folder: Path, platter: Path, lost: tuple[str, ...]) -> None:
    """Leave of the files that match the patterns ``lost`` in ``folder`` only what reached the platter."""
    for pattern in lost:
        for path in folder.glob(pattern):
            if path.is_file():
                path.unlink()
    for kept in platter.rglob("*"):
        if kept.is_file() and not kept.name.endswith(".half"):
            target = folder / kept.relative_to(platter)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(kept, target)
