"""What is remembered of each comparison, and the last evaluation of each experiment."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "reading",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("p", sa.Double(), nullable=False),
        sa.Column("crossed_at", sa.BigInteger()),
        sa.Column("crossed_n", sa.BigInteger()),
        sa.Column("crossed_up", sa.Boolean()),
        sa.Column("low", sa.Double()),
        sa.Column("high", sa.Double()),
        sa.PrimaryKeyConstraint("experiment", "arm", "metric"),
    )
    op.create_table(
        "evaluation",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.PrimaryKeyConstraint("experiment"),
    )
