"""The life of an experiment: its record, its schedule, what was done to it, and why."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("experiment", sa.Column("starts_at", sa.BigInteger()))
    op.add_column("experiment", sa.Column("record", JSON))
    op.add_column("experiment", sa.Column("digest", sa.Text()))
    op.add_column("experiment", sa.Column("deleted_at", sa.BigInteger()))
    op.add_column("epoch", sa.Column("shares", JSON))
    op.create_table(
        "experiment_event",
        sa.Column("seq", SERIAL, nullable=False, autoincrement=True),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", JSON, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("experiment_event_of", "experiment_event", ["experiment", "seq"])
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
