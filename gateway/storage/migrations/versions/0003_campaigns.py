"""Campaigns and their contacts; one pace for all dialers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
WAITING = sa.text("state = 'waiting'")


def upgrade() -> None:
    op.create_table(
        "campaign",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("contacts", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("campaign_status", "campaign", ["status"])
    op.create_table(
        "contact",
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer()),
        sa.Column("to_number", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text()),
        sa.Column("consent", sa.Text()),
        sa.Column("variables", JSON, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("result", sa.Text()),
        sa.Column("text", sa.Text()),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("call", sa.Text()),
        sa.Column("arm", sa.Text()),
        sa.Column("version", sa.Text()),
        sa.Column("revision", sa.Integer()),
        sa.Column("experiment", sa.Text()),
        sa.Column("epoch", sa.Integer()),
        sa.Column("why", sa.Text()),
        sa.Column("share", sa.Double()),
        sa.Column("analysed", sa.Boolean()),
        sa.PrimaryKeyConstraint("campaign", "line"),
    )
    op.create_index(
        "contact_waiting",
        "contact",
        ["campaign", "not_before", "line"],
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
    op.create_index("contact_state", "contact", ["campaign", "state", "result", "arm"])
    op.add_column("attempt", sa.Column("contact", sa.Integer()))
    op.add_column("attempt", sa.Column("machine", JSON))
    op.create_index("attempt_number", "attempt", ["to_number", "intent_at"])
    op.create_index("attempt_campaign", "attempt", ["campaign", "intent_at"])
    op.add_column("dialing", sa.Column("next_at", sa.BigInteger(), nullable=False, server_default="0"))
