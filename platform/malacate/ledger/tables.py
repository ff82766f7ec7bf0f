"""DDL of the ledger, the same on SQLite and Postgres."""

import sqlalchemy as sa

METADATA = sa.MetaData()

BATCH = sa.Table(
    "batch",
    METADATA,
    sa.Column("batch_id", sa.String(64), primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("object", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("ordinal", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger),
    sa.Column("lo", sa.Text),
    sa.Column("hi", sa.Text),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("first_seen", sa.Float, nullable=False),
    sa.Column("deliveries", sa.Integer, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", sa.Float),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("crashes", sa.Integer, nullable=False),
    sa.Column("next_try", sa.Float, nullable=False),
    sa.Column("rows_read", sa.BigInteger),
    sa.Column("rows_loaded", sa.BigInteger),
    sa.Column("rows_quarantined", sa.BigInteger),
    sa.Column("reason", sa.String(64)),
    sa.Column("error", sa.Text),
    sa.Column("landing", sa.Text),
    sa.Column("ended", sa.Float),
    sa.Column("is_reported", sa.Boolean, nullable=False),
    sa.UniqueConstraint("source", "table_name", "object", "version"),
    sa.Index("batch_queue", "source", "table_name", "state", "next_try"),
)
"""One row per object version, window or snapshot, for ever."""

ATTEMPT = sa.Table(
    "attempt",
    METADATA,
    sa.Column("batch_id", sa.String(64), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
    sa.Column("outcome", sa.String(16)),
    sa.Column("error", sa.Text),
)
"""One row per claim; without an outcome its worker died or still runs."""
