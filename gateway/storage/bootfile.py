"""A copy of the live state on the local disk, so that the gateway boots and answers without its database.

It is a file of JSON lines that grows by what changes: of several lines for one thing the last one holds.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gateway import log
from gateway.model import Experiment
from gateway.storage.revisions import Revision

_log = log.get("bootfile")

Entry = tuple[Revision, Experiment | None]


class BootFile:
    """Reads and writes the copy. Its methods block: call them in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rewrite(self, entries: Iterable[Entry]) -> None:
        """Replace the whole file, atomically."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            new.chmod(0o600)
            file.writelines(_line(entry) for entry in entries)
        new.replace(self._path)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add what has changed."""
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(map(_line, entries))

    def read(self) -> list[Entry]:
        """The newest line of each thing; a torn last line is passed over, no file is an empty state."""
        found: dict[tuple[str, str], Entry] = {}
        for text in self._lines():
            try:
                entry = json.loads(text)
                revision = Revision(**entry["revision"])
                experiment = _experiment(entry["experiment"])
            except (ValueError, KeyError, TypeError):
                _log.warning("bootfile_line_unreadable", file=self._path.name)
                continue
            found[revision.kind, revision.name] = (revision, experiment)
        return list(found.values())

    def _lines(self) -> Iterator[str]:
        if self._path.exists():
            with self._path.open(encoding="utf-8", errors="replace") as lines:
                yield from lines


def _line(entry: Entry) -> str:
    revision, experiment = entry
    plain: dict[str, Any] | None = None
    if experiment is not None:
        salts = {"salt": experiment.salt.hex(), "coverage_salt": experiment.coverage_salt.hex()}
        # Not asdict, which copies: a large start has a hundred thousand of them.
        plain = {name: getattr(experiment, name) for name in Experiment.__slots__} | salts
    return json.dumps({"revision": revision._asdict(), "experiment": plain}, separators=(",", ":")) + "\n"


def _experiment(plain: dict[str, Any] | None) -> Experiment | None:
    if plain is None:
        return None
    salts = {name: bytes.fromhex(plain[name]) for name in ("salt", "coverage_salt")}
    return Experiment(**plain | salts)
