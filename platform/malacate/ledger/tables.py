"""DDL of the ledger, the same on SQLite and Postgres.

A ledger of an earlier version is followed: columns that it lacks are added, so a new column has
to allow null.
"""

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
    sa.Column("modified_ns", sa.BigInteger),
    sa.Column("waiting_since", sa.Float),
    sa.Column("sha256", sa.String(64)),
    sa.Column("dup_of", sa.String(64)),
    sa.Column("drop_removed", sa.Float),
    sa.Column("promise", sa.Text),
    sa.UniqueConstraint("source", "table_name", "object", "version"),
    sa.Index("batch_queue", "source", "table_name", "state", "next_try"),
    sa.Index("batch_state", "state", "first_seen"),
    sa.Index("batch_ended", "source", "table_name", "state", "ended"),
    sa.Index("batch_bytes", "source", "table_name", "sha256"),
    sa.Index(
        "batch_repeated",
        "dup_of",
        sqlite_where=sa.text("dup_of is not null"),
        postgresql_where=sa.text("dup_of is not null"),
    ),
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

TRANSITION = sa.Table(
    "transition",
    METADATA,
    sa.Column("batch_id", sa.String(64), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("step", sa.String(24), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("ok", sa.Boolean, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
"""What happened to a batch, step by step, beside its first sight and its claims.

A step that comes twice within an epoch is told as it was the last time.
"""

HOLD = sa.Table(
    "hold",
    METADATA,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("what", sa.Text, primary_key=True),
    sa.Column("batch_id", sa.String(64), nullable=False),
)
"""Which batch may load what only one may: the same bytes, or the same object."""

LOOK = sa.Table(
    "look",
    METADATA,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("cursor", sa.Text, nullable=False),
)
"""Where the next look at a table's drops goes on; without a row it looks at everything."""

COST = sa.Table(
    "cost",
    METADATA,
    sa.Column("job_id", sa.String(255), primary_key=True),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("run", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("bytes_estimated", sa.BigInteger),
    sa.Column("accuracy", sa.String(16), nullable=False),
    sa.Column("bytes_billed", sa.BigInteger),
    sa.Column("slot_ms", sa.BigInteger),
    sa.Column("usd", sa.Float),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("day_on", sa.String(10), nullable=False),
    sa.Index("cost_of_run", "run", "asset"),
)
"""One row per statement that the warehouse bills; nothing billed is known of one that was cut off.

``accuracy`` is what the warehouse says of its estimate.
"""

HEARD = sa.Table(
    "heard",
    METADATA,
    sa.Column("watch", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("last_us", sa.BigInteger, nullable=False),
    sa.Column("came_us", sa.BigInteger),
)
"""The newest reading of each sensor that is watched, in microseconds of event time, and when the
newest came.
"""

INCIDENT = sa.Table(
    "incident",
    METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("watch", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("opened_us", sa.BigInteger, nullable=False),
    sa.Column("first_us", sa.BigInteger, nullable=False),
    sa.Column("last_us", sa.BigInteger, nullable=False),
    sa.Column("quiet_us", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("bound", sa.Float, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("told", sa.Text, nullable=False),
    sa.Column("part_of", sa.String(64)),
    sa.Column("noted", sa.Float, nullable=False),
    sa.Column("site", sa.Text),
    sa.Column("came_us", sa.BigInteger),
    sa.Column("storm_us", sa.BigInteger),
    sa.Index("incident_of", "watch", "last_us"),
)
"""One row per episode of a rule and a sensor, from its first exceedance to its last as known now.

``opened_us`` is the reading that named it. ``part_of`` is the incident that it turned out to
belong to. ``came_us`` is when the newest of it became known, null where nothing says. It is told
together with others that opened within ``storm_us`` at its ``site``; alone, where that is null.
What rows raise has no quiet time, no value and no bound: 0, and an empty unit.
"""

ALARM = sa.Table(
    "alarm",
    METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("channel", sa.String(255), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_try", sa.Float, nullable=False),
    sa.Column("noted", sa.Float, nullable=False),
    sa.Column("sent", sa.Float),
    sa.Column("error", sa.Text),
    sa.Column("message", sa.String(64)),
    sa.Index("alarm_queue", "channel", "state", "next_try"),
)
"""What has to be told, and to whom: one row per incident and channel, ``due``, ``sent``, or
``joined`` where its incident joined another before it was sent. While older readings wait to be
judged it is ``held``; ``stale`` is what came too long ago to be told.

``message`` is what it was told with; once it has one, it keeps it.
"""

JUDGED = sa.Table(
    "judged",
    METADATA,
    sa.Column("watch", sa.Text, primary_key=True),
    sa.Column("batch_id", sa.String(64), primary_key=True),
)
"""Which loaded batches a watch has seen."""

ALL_JUDGED = sa.Table(
    "all_judged",
    METADATA,
    sa.Column("watch", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)
"""When a watch was last found to have seen all that was loaded."""
