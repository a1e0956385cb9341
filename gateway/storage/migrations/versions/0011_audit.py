"""Labels are found by their experiment, and an epoch knows who judges in it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("label", sa.Column("experiment", sa.Text()))
    op.create_index("ix_label_experiment", "label", ["experiment"])
    op.execute('UPDATE label SET experiment = (SELECT call.experiment FROM call WHERE call.id = label."call")')
    op.add_column("epoch", sa.Column("judge", JSON))
    epoch = sa.table("epoch", sa.column("experiment"), sa.column("judge", JSON))
    experiment = sa.table("experiment", sa.column("id"), sa.column("record", JSON))
    connection = op.get_bind()
    for row in connection.execute(sa.select(experiment)).all():
        judge = (row.record or {}).get("judge")
        if judge is not None:
            told = {"id": judge, "model": None, "questions": {}}
            connection.execute(sa.update(epoch).where(epoch.c.experiment == row.id).values(judge=told))
