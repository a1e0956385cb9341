"""The care of what is stored: deleting what was kept long enough, erasing a person, and copying the database.

Everything here goes on while calls are answered.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from gateway import log
from gateway.errors import Conflict, Invalid, NotFound, Problem, Unavailable
from gateway.livestate import LiveState
from gateway.mentions import Mention
from gateway.phone import is_e164
from gateway.settings import Settings
from gateway.storage.access import add_audit
from gateway.storage.backup import copy_database
from gateway.storage.engine import Database
from gateway.storage.erasing import Eraser, live_mention
from gateway.storage.experiments import take_lease
from gateway.storage.ledger import Ledger
from gateway.storage.retention import delete_events, delete_transcripts
from gateway.storage.works import Rules

_log = log.get("datacare")

_DAY = 24 * 60 * 60 * 1000
_LEASE_MS = 10 * 60_000  # until another process takes over from one that ended in the middle
_PAUSE_SECONDS = 0.02
_CHECKPOINT_TRIES = 50
_PIECE = 1 << 20
_BACKUP = re.compile(r"gateway-[0-9]{8}T[0-9]{6}Z(-[0-9a-f]{4})\.db")


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasure:
    """What was erased, in rows by table; and the files that still hold the number, for the operator to mend."""

    rows: Mapping[str, int]
    files: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Backup:
    """A copy of the database, as a file in our folder."""

    name: str
    path: Path
    bytes: int


@dataclass(kw_only=True)
class DataCare:
    """One process's share of the care."""

    database: Database
    ledger: Ledger
    state: LiveState
    rules: Rules
    settings: Settings
    wall: Callable[[], int]
    _copying: asyncio.Lock = field(default_factory=asyncio.Lock)

    # -- what was kept long enough -------------------------------------------------------------------------

    async def retain(self) -> Mapping[str, int] | None:
        """Delete what is older than ``retention.*`` says, once a day, in one process of all; what was deleted.

        None when it was done today, or another process does it.
        """
        days = self.settings.retention
        if days.events is None and days.transcripts is None:
            return None
        owner = secrets.token_hex(8)
        if not await self._lease(owner, _LEASE_MS):
            return None
        now, deleted = self.wall(), {"events": 0, "transcripts": 0}
        if days.events is not None:
            async for count in delete_events(self.database, before=now - days.events * _DAY, now=now):
                deleted["events"] += count
                await self._rest(owner)
        if days.transcripts is not None:
            async for count in delete_transcripts(self.database, before=now - days.transcripts * _DAY):
                deleted["transcripts"] += count
                await self._rest(owner)
        _log.info("retention_enforced", **deleted)
        if any(deleted.values()):
            async with self.database.write() as connection:
                await add_audit(
                    connection,
                    at=self.wall(),
                    author="gateway",
                    action="delete by age",
                    subject="retention",
                    detail=dict(deleted),
                )
        await self._lease(owner, _DAY)
        return deleted

    async def _rest(self, owner: str) -> None:
        await self._lease(owner, _LEASE_MS)
        await asyncio.sleep(_PAUSE_SECONDS)

    async def _lease(self, owner: str, length: int) -> bool:
        now = self.wall()
        async with self.database.write() as connection:
            return await take_lease(connection, self.database, "retention", owner=owner, now=now, until=now + length)

    # -- a person ------------------------------------------------------------------------------------------

    async def erase(self, number: str, *, author: str) -> Erasure:
        """Erase everything that tells who a number's owner is; may be done again, and then finds less.

        Raises Conflict while they are on a call, or stand in something that is live, and Unavailable when an older
        state is still being read and so cannot be overwritten.
        """
        if not is_e164(number):
            text = f"{number} is no E.164 number: write it as +14155550123"
            raise Invalid(text, [Problem(place="body", path="number", text=text)])
        mention = Mention(number)
        async with self.database.read() as connection:
            found = await live_mention(connection, mention)
        if found is not None:
            kind, name = found
            raise Conflict(f'the number stands in {kind} "{name}": take it out there and publish, then erase it')
        await self.ledger.replay()
        eraser = Eraser(self.database, number, rules=self.rules, wall=self.wall)
        await eraser.begin(author=author)
        await eraser.sweep()
        await self.state.rewrite_copy()
        if self.database.embedded:
            await self._overwrite(mention)
        _log.info("erased", rows=sum(eraser.changed.values()), busy=len(eraser.busy))
        if eraser.busy:
            calls = ", ".join(sorted(eraser.busy))
            raise Conflict(f"{calls} came in meanwhile; all else is erased: erase it again when this has ended")
        files = await asyncio.to_thread(_files_with, mention, self._folders(), self._own())
        return Erasure(rows={name: count for name, count in eraser.changed.items() if count}, files=files)

    async def _overwrite(self, mention: Mention) -> None:
        """See to it that the file itself has nothing left of what was deleted."""
        await self._checkpoint()
        if await asyncio.to_thread(_holds, self._file, mention):
            # Rows that moved from page to page leave traces, which only a file written anew has not.
            await self.database.rebuild()
            await self._checkpoint()

    async def _checkpoint(self) -> None:
        for _ in range(_CHECKPOINT_TRIES):
            if await self.database.checkpoint():
                return
            await asyncio.sleep(0.1)
        raise Unavailable("the rows are erased, but an older state is still being read: erase it again shortly")

    @property
    def _file(self) -> Path:
        return Path(self.database.url.database or "")

    def _own(self) -> set[Path]:
        return (
            {Path(f"{self._file}{end}").resolve() for end in ("", "-wal", "-shm")}
            if self.database.embedded
            else set()
        )

    def _folders(self) -> list[Path]:
        paths = self.settings.paths
        return [paths.data, paths.routes, paths.agents]

    # -- a copy --------------------------------------------------------------------------------------------

    async def back_up(self) -> Backup:
        """Copy the database as it is now into a file of our folder, in place of the copies before it.

        Raises Invalid for a database that has a tool of its own for this, Conflict while another copy is made.
        """
        if not self.database.embedded:
            raise Invalid(
                "the database is PostgreSQL, which is copied by its own tool while it serves:"
                ' pg_dump --format=custom --file=gateway.dump "$DATABASE_URL"'
            )
        if self._copying.locked():
            raise Conflict("a copy is being made already; wait for it")
        async with self._copying:
            moment = datetime.fromtimestamp(self.wall() / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
            name = f"gateway-{moment}-{secrets.token_hex(2)}.db"
            path = self._backups / name
            try:
                size = await asyncio.to_thread(_copy_alone, self._file, path)
            except OSError as error:
                raise Unavailable(f"the copy could not be written: {error}") from error
            _log.info("backed_up", file=name, bytes=size)
            return Backup(name=name, path=path, bytes=size)

    def backup_named(self, name: str) -> Path:
        """The file of a copy; raises NotFound for one that is not there."""
        path = self._backups / name
        if _BACKUP.fullmatch(name) is None or not path.is_file():
            raise NotFound(f"there is no backup {name}; only the newest is kept")
        return path

    @property
    def _backups(self) -> Path:
        return self.settings.paths.data / "backups"


def _copy_alone(source: Path, target: Path) -> int:
    """Copy the database, and delete the copies before it."""
    size = copy_database(source, target)
    for old in target.parent.glob("gateway-*.db"):
        if old != target:
            old.unlink(missing_ok=True)
    return size


def _files_with(mention: Mention, folders: Iterable[Path], own: set[Path]) -> list[str]:
    """Every file below the folders that holds the digits, but the database's own."""
    files = {path.resolve(): path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}
    return [str(path) for whole, path in files.items() if whole not in own and _holds(path, mention)]


def _holds(path: Path, mention: Mention) -> bool:
    """Whether the digits stand in a file; one that goes away meanwhile holds nothing."""
    wanted = mention.digits.encode()
    try:
        with path.open("rb") as file:
            tail = b""
            while piece := file.read(_PIECE):
                if wanted in tail + piece:
                    return True
                tail = piece[-len(wanted) :]
    except FileNotFoundError:
        pass
    return False
