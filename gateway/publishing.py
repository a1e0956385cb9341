"""Checks, plans and publishes routes and agents: the one door through which the live state changes.

Everything that can fail comes first; then one transaction writes revisions, experiments, epochs and the audit
row, provided that the live revisions are still the ones the author saw.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.consequences import Conditions, carry_out, fate
from gateway.drafts import (
    Author,
    Change,
    Draft,
    check,
    compare,
    drift,
    immutable,
    missing_secrets,
    refuse,
    write_files,
)
from gateway.errors import NotFound
from gateway.livestate import LiveState
from gateway.model import Snapshot
from gateway.routefile import differences
from gateway.storage.access import add_audit
from gateway.storage.engine import Connection, Database
from gateway.storage.experiments import experiment_numbers
from gateway.storage.revisions import (
    Key,
    Revision,
    add_publication,
    add_revisions,
    history,
    live_of,
    live_revisions,
    lock_head,
    mark_in_folder,
    revision_of,
)


class Publishing:
    """Check, plan, publish, roll back and export."""

    def __init__(
        self,
        database: Database,
        state: LiveState,
        *,
        secret: Callable[[str], str],
        outcome_window: int,
        judge: Mapping[str, Any] | None = None,
        luck: Callable[[int], bytes] = secrets.token_bytes,
        wall: Callable[[], int],
    ) -> None:
        """``secret`` gives the text of an environment variable that a target names, or raises LookupError.

        The others are the ``Conditions`` that experiments are opened under.
        """
        self._conditions = Conditions(outcome_window=outcome_window, judge=judge, luck=luck)
        self._database = database
        self._state = state
        self._secret = secret
        self._wall = wall

    async def check(self, draft: Draft) -> None:
        """Raise Invalid with every problem that the draft has beside the live state."""
        await self._state.refresh()
        await asyncio.to_thread(self._check, draft, self._state.snapshot)

    def _check(self, draft: Draft, snapshot: Snapshot) -> None:
        check(draft, snapshot)
        refuse(missing_secrets(draft, self._secret))

    async def plan(self, draft: Draft, *, allow_removal: bool = False) -> list[Change]:
        """What publishing the draft would change, things that stay as they are included."""
        await self.check(draft)
        async with self._database.read() as connection:
            draft = await self._with_removals(connection, draft, allow_removal)
            live = await live_of(connection, draft.bodies)
            changes = await asyncio.to_thread(self._changes, draft, live)
            numbers = await experiment_numbers(connection, [one.name for one in changes if one.test == "opens"])
        return [self._with_experiment(one, numbers) for one in changes]

    def _with_experiment(self, change: Change, numbers: Mapping[str, int]) -> Change:
        live = self._state.snapshot.routes.get(change.name) if change.kind == "route" else None
        if change.test == "opens":
            return replace(change, experiment=f"{change.name}-{numbers.get(change.name, 0) + 1}")
        if change.test and live is not None and live.experiment is not None:
            return replace(change, experiment=live.experiment.id)
        return change

    async def publish(
        self,
        draft: Draft,
        author: Author,
        *,
        bases: Mapping[Key, int] | None = None,
        overwrite: Collection[str] = (),
        allow_removal: bool = False,
    ) -> tuple[int, list[Change]]:
        """Publish in one transaction; returns the publication's number and what changed.

        ``bases`` are the live revision numbers that the author saw (0: none); without them, those of this
        moment. Raises Invalid, Moved (a base is no longer live), Conflict or Refused, and changes nothing then.
        """
        while True:
            await self._state.refresh()
            snapshot = self._state.snapshot
            await asyncio.to_thread(self._check, draft, snapshot)
            async with self._database.write() as connection:
                newest = await lock_head(connection, self._database)
                if newest != snapshot.publication:
                    continue  # somebody published in between: check again beside what they did
                draft = await self._with_removals(connection, draft, allow_removal)
                live = await live_of(connection, draft.bodies)
                changes = await asyncio.to_thread(self._changes, draft, live)
                refuse(immutable(draft, live, self._state.snapshot))
                compare(changes, bases, author, overwrite)
                await self._write(connection, newest, draft, changes, live, author)
                changed = [change for change in changes if change.action != "keep"]
            if changed:
                await self._state.refresh()
            return self._state.snapshot.publication, changed

    async def rollback(self, kind: str, name: str, to: int, author: Author) -> tuple[int, list[Change]]:
        """Publish the body of an old revision as a new one."""
        async with self._database.read() as connection:
            old = await revision_of(connection, kind, name, to)
        if old is None:
            raise NotFound(f'{kind} "{name}" has no revision {to}')
        return await self.publish(Draft(bodies={(kind, name): old.body}), author)

    async def export(self, author: Author, files: Mapping[str, str] | None = None) -> dict[str, str]:
        """The live state as files; comments in ``files``, the operator's own, are kept.

        The live revisions then count as held by the folder.
        """
        async with self._database.read() as connection:
            live = [revision for revision in await live_revisions(connection) if revision.body is not None]
        written = await asyncio.to_thread(write_files, live, files or {})
        async with self._database.write() as connection:
            await mark_in_folder(connection, [(one.kind, one.name, one.number) for one in live])
            await add_audit(
                connection,
                at=self._wall(),
                author=author.name,
                action="export",
                subject=f"{len(live)} files",
                detail={},
            )
        return written

    async def held_in_folder(self, revision: Revision) -> None:
        """Remember that the operator's folder holds a revision now."""
        async with self._database.write() as connection:
            await mark_in_folder(connection, [(revision.kind, revision.name, revision.number)])

    async def history(self, kind: str, name: str) -> list[Revision]:
        """Every revision of one thing, newest first; NotFound when there never was one."""
        async with self._database.read() as connection:
            found = await history(connection, kind, name)
        if not found:
            raise NotFound(f'there is no {kind} "{name}"')
        return found

    async def live(self, kind: str, name: str) -> Revision:
        """The live revision of one thing; NotFound when there is none."""
        async with self._database.read() as connection:
            found = (await live_of(connection, [(kind, name)])).get((kind, name))
        if found is None or found.body is None:
            raise NotFound(f'there is no {kind} "{name}"')
        return found

    async def live_bodies(self) -> dict[Key, Revision]:
        """Every live revision; for lists and for comparing with a folder."""
        async with self._database.read() as connection:
            found = await live_revisions(connection)
        return {(one.kind, one.name): one for one in found if one.body is not None}

    async def drift(self, files: Mapping[str, str]) -> list[str]:
        """The places where a folder differs from the live state; a file that cannot be read differs too."""
        live = await self.live_bodies()
        return await asyncio.to_thread(drift, files, {key: one.body for key, one in live.items()})

    # -- inside the transaction ----------------------------------------------------------------------------

    async def _with_removals(self, connection: Connection, draft: Draft, allow: bool) -> Draft:
        if not allow:
            return draft
        gone = {
            (one.kind, one.name): None
            for one in await live_revisions(connection)
            if one.body is not None and (one.kind, one.name) not in draft.bodies
        }
        draft = replace(draft, bodies={**draft.bodies, **gone})
        await asyncio.to_thread(check, draft, self._state.snapshot)
        return draft

    def _changes(self, draft: Draft, live: Mapping[Key, Revision]) -> list[Change]:
        changes = []
        for (kind, name), body in draft.bodies.items():
            old = live.get((kind, name))
            before = old.body if old else None
            action = _action(before, body)
            changed_route = kind == "route" and action != "keep"
            test = fate(self._state.snapshot.routes.get(name), name, before, body) if changed_route else ""
            unexported = f"{old.author}: {old.message or old.door}" if old and not old.in_folder else ""
            changes.append(
                Change(
                    kind=kind,
                    name=name,
                    action=action,
                    base=old.number if old else 0,
                    lines=tuple(differences(before, body)) if action != "keep" else (),
                    test=test,
                    unexported=unexported,
                )
            )
        return changes

    async def _write(
        self,
        connection: Connection,
        newest: int,
        draft: Draft,
        changes: Sequence[Change],
        live: Mapping[Key, Revision],
        author: Author,
    ) -> None:
        from_files = author.door == "files"
        kept = [change for change in changes if change.action == "keep" and change.unexported]
        if from_files and kept:
            await mark_in_folder(connection, [(one.kind, one.name, one.base) for one in kept])
        changed = [change for change in changes if change.action != "keep"]
        if not changed:
            return
        now, number = self._wall(), newest + 1
        await add_publication(
            connection, number=number, at=now, author=author.name, door=author.door, message=author.message
        )
        added = [
            Revision(
                kind=change.kind,
                name=change.name,
                number=change.base + 1,
                publication=number,
                body=draft.bodies[change.kind, change.name],
                in_folder=from_files,
            )
            for change in changed
        ]
        await add_revisions(connection, self._database, added)
        await carry_out(
            connection,
            changed,
            draft,
            author,
            routes=self._state.snapshot.routes,
            conditions=self._conditions,
            now=now,
        )
        await add_audit(
            connection,
            at=now,
            author=author.name,
            action="publish",
            subject=f"publication {number}",
            detail={
                "door": author.door,
                "message": author.message,
                "changes": [
                    {"place": one.place, "action": one.action, "revision": one.base + 1, "lines": list(one.lines)}
                    for one in changed[:200]
                ],
            },
        )


def _action(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    if before == after:
        return "keep"
    if before is None:
        return "create"
    return "remove" if after is None else "update"
