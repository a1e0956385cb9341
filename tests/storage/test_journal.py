"""The journal: whole entries come back, torn ones never do, and nobody takes over a living owner's file."""

import json
import os
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

import pytest

from gateway.storage.journal import Journal, read_entries

ENTRIES = [{"call": {"id": f"CA{n}", "from": "Zoë +1415"}} for n in range(5)]


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_was_appended_comes_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(ENTRIES[:2])
    journal.append(ENTRIES[2:])
    assert list(read_entries(only_file(tmp_path))) == ENTRIES
    assert only_file(tmp_path).stat().st_mode & 0o077 == 0


def test_a_file_cut_at_any_byte_gives_its_whole_entries(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(ENTRIES)
    whole = only_file(tmp_path / "journal").read_bytes()
    cut = tmp_path / "cut.log"
    for length in range(len(whole) + 1):
        cut.write_bytes(whole[:length])
        assert list(read_entries(cut)) == ENTRIES[: whole[:length].count(b"\n")]


def test_an_altered_line_is_left_out_and_its_neighbours_are_not(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(ENTRIES)
    path = only_file(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"CA2", b"CA7")
    path.write_bytes(b"".join(lines))
    assert list(read_entries(path)) == ENTRIES[:2] + ENTRIES[3:]


def test_a_living_owners_file_is_left_alone(tmp_path: Path) -> None:
    owner, other = Journal(tmp_path), Journal(tmp_path)
    owner.append(ENTRIES)
    assert list(other.take()) == []
    owner.close()
    (path,) = other.take()
    assert json.loads(path.read_bytes().splitlines()[0].partition(b" ")[2]) == ENTRIES[0]


def test_what_is_written_while_it_is_taken_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, sync, writing, on = Journal(tmp_path), os.fdatasync, Event(), Event()

    def slow(file: int) -> None:
        writing.set()
        on.wait(20)
        sync(file)

    monkeypatch.setattr(os, "fdatasync", slow)
    with ThreadPoolExecutor(2) as threads:
        written = threads.submit(journal.append, ENTRIES)
        writing.wait(20)
        taken = threads.submit(lambda: list(journal.take()))
        wait([taken], timeout=0.3)
        on.set()
        written.result()
        (path,) = taken.result()
    assert list(read_entries(path)) == ENTRIES
