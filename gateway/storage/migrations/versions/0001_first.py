"""The first schema."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def only(condition: str) -> dict[str, Any]:
    """The rows that a partial index holds, told to both engines."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", JSON, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "call",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("sid", sa.Text()),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("from_number", sa.Text(), nullable=False),
        sa.Column("to_number", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("route", sa.Text()),
        sa.Column("revision", sa.Integer()),
        sa.Column("experiment", sa.Text()),
        sa.Column("epoch", sa.Integer()),
        sa.Column("arm", sa.Text()),
        sa.Column("version", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("unit", sa.Text()),
        sa.Column("bucket", sa.Integer()),
        sa.Column("share", sa.Double()),
        sa.Column("analysed", sa.Boolean(), nullable=False),
        sa.Column("journalled", sa.Boolean(), nullable=False),
        sa.Column("served_by", sa.Text(), nullable=False),
        sa.Column("served_arm", sa.Text()),
        sa.Column("served_version", sa.Text()),
        sa.Column("served_reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("answered_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("duration_seconds", sa.Integer()),
        sa.Column("mature", sa.Boolean(), nullable=False),
        sa.Column("mature_at", sa.BigInteger()),
        sa.Column("counted", JSON),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("call_from", "call", ["from_number", "seq"])
    op.create_index("call_maturing", "call", ["mature_at"], **only("mature_at IS NOT NULL"))
    op.create_index("call_open", "call", ["received_at"], **only("ended_at IS NULL"))
    op.create_index("call_sid", "call", ["sid"], unique=True, **only("sid != id"))
    op.create_table(
        "call_event",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("call", "key"),
    )
    op.create_table(
        "epoch",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("memory", sa.Integer(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("arms", JSON, nullable=False),
        sa.PrimaryKeyConstraint("experiment", "number"),
    )
    op.create_table(
        "experiment",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("coverage_salt", sa.LargeBinary(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_revision", sa.Integer(), nullable=False),
        sa.Column("closed_at", sa.BigInteger()),
        sa.Column("closed_revision", sa.Integer()),
        sa.Column("locked_at", sa.BigInteger()),
        sa.Column("winner", sa.Text()),
        sa.Column("plan", JSON),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("route", "number"),
    )
    op.create_index("experiment_open", "experiment", ["route"], unique=True, **only("closed_at IS NULL"))
    op.create_index("ix_experiment_route", "experiment", ["route"])
    op.create_table(
        "head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("publication", sa.BigInteger(), nullable=False),
        sa.Column("holds", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "hold",
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("to", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger()),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("route"),
    )
    op.create_table(
        "idempotency",
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("answer", sa.Text()),
        sa.PrimaryKeyConstraint("author", "key"),
    )
    op.create_index("ix_idempotency_at", "idempotency", ["at"])
    op.create_table(
        "live",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("publication", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name"),
    )
    op.create_index("ix_live_publication", "live", ["publication"])
    op.create_table(
        "outcome",
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("call"),
    )
    op.create_table(
        "publication",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("door", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "sticky",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("memory", sa.Integer(), nullable=False),
        sa.Column("unit", sa.LargeBinary(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "memory", "unit"),
    )
    op.create_table(
        "tally",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("stratum", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("mean", sa.Double(), nullable=False),
        sa.Column("m2", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "epoch", "day", "stratum", "arm", "metric"),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "revision",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("publication", sa.BigInteger(), nullable=False),
        sa.Column("body", JSON),
        sa.Column("in_folder", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["publication"],
            ["publication.id"],
        ),
        sa.PrimaryKeyConstraint("kind", "name", "number"),
    )
    op.create_index("ix_revision_publication", "revision", ["publication"])
