"""Notices of what happened, and their deliveries to receivers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")
NEW = sa.text("addressed_at IS NULL")
OPEN = sa.text("due_at IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "notice",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("addressed_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("ix_notice_at", "notice", ["at"])
    op.create_index("notice_new", "notice", ["seq"], sqlite_where=NEW, postgresql_where=NEW)
    op.create_table(
        "delivery",
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("text", sa.Text()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["notice"], ["notice.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("notice", "receiver"),
    )
    op.create_index("delivery_due", "delivery", ["due_at"], sqlite_where=OPEN, postgresql_where=OPEN)
    op.create_index("delivery_ended", "delivery", ["receiver", "ended_at"])
