"""The care of what is stored: a person is erased, the database is copied."""

from typing import Any

from gateway.http.api.endpoint import Answer, Ask, Body, endpoint


class Erasing(Body):
    """Whose data is to be erased: a number in E.164."""

    number: str


@endpoint("POST", "/erase", role="admin", body=Erasing)
async def erase(ask: Ask) -> dict[str, Any]:
    """Erase everything that tells who a number's owner is; a keyed hash alone keeps them from being called."""
    done = await ask.gateway.care.erase(ask.body.number, author=ask.caller.name)
    return {"erasure": {"rows": done.rows, "files": done.files}}


@endpoint("POST", "/backup", role="admin")
async def back_up(ask: Ask) -> Answer:
    """Copy the embedded database, as it is at this moment, into a file of the gateway's own folder."""
    made = await ask.gateway.care.back_up()
    async with ask.gateway.database.write() as connection:
        await ask.audit(connection, "back up", f"backup {made.name}", bytes=made.bytes)
    return Answer(body={"backup": {"name": made.name, "bytes": made.bytes}}, status=201)


@endpoint("GET", "/backups/{backup}", role="admin")
async def fetch_backup(ask: Ask) -> Answer:
    """The file of the newest copy."""
    return Answer(body={}, file=ask.gateway.care.backup_named(ask.path["backup"]))


ENDPOINTS = (erase, back_up, fetch_backup)
