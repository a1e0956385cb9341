"""Brings what was published elsewhere back into the operator's folders, where they can be written."""

import asyncio
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway import log
from gateway.drafts import place_of, read_files
from gateway.errors import Invalid
from gateway.publishing import Publishing
from gateway.routefile import write_toml
from gateway.storage.revisions import Key, Revision

_log = log.get("folders")


async def write_back(publishing: Publishing, folders: Mapping[str, Path], key: Key) -> bool:
    """Rewrite the file of one route or agent as its live revision says, comments kept; False when it was left alone.

    ``folders`` are those of each kind. A file that says something of its own, which was never published, is left:
    somebody is still at work on it. So is a folder that cannot be written.
    """
    newest, *older = await publishing.history(*key)
    path = folders[key[0]] / f"{key[1]}.toml"
    before = older[0].body if older else None
    try:
        written = await asyncio.to_thread(_rewrite, path, newest, before)
    except OSError as error:
        _log.warning("file_not_written", file=str(path), error=error.strerror)
        return False
    if written:
        await publishing.held_in_folder(newest)
    return written


def _rewrite(path: Path, newest: Revision, before: Mapping[str, Any] | None) -> bool:
    text = path.read_text(encoding="utf-8") if path.exists() else None
    place = place_of(newest.kind, newest.name)
    if newest.body is None or _says(place, text) not in (before, newest.body):
        return False
    _replace(path, write_toml(newest.body, text))
    return True


def _says(place: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return next(iter(read_files({place: text}).bodies.values()))
    except Invalid:
        return text


def _replace(path: Path, text: str) -> None:
    """Whoever reads the file meanwhile sees the old text or the new one, whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            Path(name).chmod(path.stat().st_mode)
        else:
            Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
