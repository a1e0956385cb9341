"""What measures are counted by beside the whole: strata, callers, and the values of texts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("call", sa.Column("strata", JSON))
    # A number's calls are looked for by time: whether it had called before, and whether it called again.
    op.drop_index("call_from", "call")
    op.create_index("call_from", "call", ["from_number", "received_at"])
    op.create_table(
        "cluster",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("unit", sa.LargeBinary(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("y", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "unit", "epoch", "metric", "arm"),
    )
    op.create_table(
        "cluster_sum",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("k", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in ("sn", "sy", "snn", "syy", "sny")),
        sa.PrimaryKeyConstraint("experiment", "epoch", "arm", "metric"),
    )
    op.create_table(
        "category",
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "name", "value"),
    )
