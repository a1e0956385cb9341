"""Reads what changed since the last look, for those who follow along: what was published, and how campaigns stand."""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.schema import campaign, contact, experiment, live


class Stopped(NamedTuple):
    """An experiment whose results are locked."""

    id: str
    route: str
    winner: str | None


class Standing(NamedTuple):
    """A campaign as it stands."""

    id: str
    name: str
    route: str
    status: str
    reason: str


async def published_since(connection: AsyncConnection, number: int) -> list[tuple[str, str]]:
    """Kind and name of what was published after a publication, by name."""
    query = sa.select(live.c.kind, live.c.name).where(live.c.publication > number)
    return [(row.kind, row.name) for row in await connection.execute(query.order_by(live.c.kind, live.c.name))]


async def stopped_since(connection: AsyncConnection, at: int) -> list[Stopped]:
    """The experiments whose results were locked at a time (Unix milliseconds) or later, the oldest first."""
    query = sa.select(experiment.c.id, experiment.c.route, experiment.c.winner).where(experiment.c.locked_at >= at)
    return [Stopped(*row) for row in await connection.execute(query.order_by(experiment.c.locked_at))]


async def standing_campaigns(connection: AsyncConnection, *, ended_since: int) -> dict[str, Standing]:
    """The campaigns that have not ended, or ended no longer ago than that, by id."""
    columns = (campaign.c.id, campaign.c.name, campaign.c.route, campaign.c.status, campaign.c.reason)
    query = sa.select(*columns).where(
        campaign.c.status != "loading", campaign.c.ended_at.is_(None) | (campaign.c.ended_at >= ended_since)
    )
    return {row.id: Standing(*row) for row in await connection.execute(query)}


async def count_contacts(connection: AsyncConnection, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many contacts of each campaign are in each state."""
    counts: dict[str, dict[str, int]] = {name: {} for name in names}
    for name in names:
        query = sa.select(contact.c.state, sa.func.count()).where(contact.c.campaign == name)
        counts[name] = {row[0]: row[1] for row in await connection.execute(query.group_by(contact.c.state))}
    return counts
