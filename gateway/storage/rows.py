"""A call's row and the values it stands for, both ways."""

from collections.abc import Mapping
from typing import Any

from gateway.model import Assignment, Call, Direction, Served

Row = Mapping[str, Any]

_NO_ASSIGNMENT: dict[str, Any] = dict.fromkeys(
    ("revision", "experiment", "epoch", "arm", "version", "reason", "unit", "bucket", "share")
)


def row_of(call: Call, route: str | None, assignment: Assignment | None, served: Served) -> dict[str, Any]:
    """The row to write for a call; ``assignment`` is None for a number that no route names."""
    row = {
        "id": call.id,
        "sid": call.sid,
        "account": call.account,
        "direction": call.direction,
        "from_number": call.from_,
        "to_number": call.to,
        "country": call.country,
        "received_at": call.at,
        "route": route,
        "analysed": False,
        "journalled": False,
        "served_by": served.by,
        "served_arm": served.arm,
        "served_version": served.version,
        "served_reason": served.reason,
        "status": call.status,
        "mature": False,
    }
    if assignment is None:
        row.update(_NO_ASSIGNMENT)
        return row
    row.update(
        revision=assignment.revision,
        experiment=assignment.experiment,
        epoch=assignment.epoch,
        arm=assignment.arm,
        version=assignment.version,
        reason=assignment.reason,
        unit=assignment.unit,
        bucket=assignment.bucket,
        share=assignment.share,
        analysed=assignment.analysed,
    )
    return row


def call_in(row: Row) -> Call:
    """The call that a row is of."""
    direction: Direction = row["direction"]
    return Call(
        id=row["id"],
        sid=row["sid"],
        account=row["account"],
        direction=direction,
        from_=row["from_number"],
        to=row["to_number"],
        at=row["received_at"],
        status=row["status"],
        country=row["country"],
    )


def assignment_in(row: Row) -> Assignment | None:
    """The assignment that stands in a row."""
    if row["arm"] is None:
        return None
    return Assignment(
        arm=row["arm"],
        version=row["version"],
        reason=row["reason"],
        revision=row["revision"],
        unit=row["unit"],
        analysed=row["analysed"],
        experiment=row["experiment"],
        epoch=row["epoch"],
        bucket=row["bucket"],
        share=row["share"],
    )


def served_in(row: Row) -> Served:
    """Who served the call, as a row has it."""
    return Served(
        by=row["served_by"], arm=row["served_arm"], version=row["served_version"], reason=row["served_reason"]
    )
