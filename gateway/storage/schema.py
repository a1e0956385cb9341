"""The tables, for both engines. Times are Unix milliseconds (UTC); seconds are whole seconds.

One row of ``call`` is one voice webhook: the assignment stands in its columns and never changes. What
happens to a call later is appended to ``call_event``; the columns from ``status`` on are derived from it.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

metadata = sa.MetaData()

# SQLite gives out row numbers only for a primary key that is spelled INTEGER.
_Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

publication = sa.Table(
    "publication",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("door", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
)

revision = sa.Table(
    "revision",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("publication", sa.BigInteger, sa.ForeignKey("publication.id"), nullable=False, index=True),
    sa.Column("body", _Json),  # null: this revision removed it
    sa.Column("in_folder", sa.Boolean, nullable=False),
)

# Which revision of each thing is live, so that reading the live state never searches the history.
live = sa.Table(
    "live",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("publication", sa.BigInteger, nullable=False, index=True),
)

# One row: the number of the newest publication. Its lock puts publications in one order on PostgreSQL.
head = sa.Table(
    "head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("publication", sa.BigInteger, nullable=False),
    sa.Column("holds", sa.BigInteger, nullable=False),
)

experiment = sa.Table(
    "experiment",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("coverage_salt", sa.LargeBinary, nullable=False),
    sa.Column("opened_at", sa.BigInteger, nullable=False),
    sa.Column("opened_revision", sa.Integer, nullable=False),
    sa.Column("closed_at", sa.BigInteger),
    sa.Column("closed_revision", sa.Integer),
    sa.Column("locked_at", sa.BigInteger),
    sa.Column("winner", sa.Text),
    sa.Column("plan", _Json),
    sa.Column("starts_at", sa.BigInteger),
    sa.Column("record", _Json),  # what was settled before the first call, frozen
    sa.Column("digest", sa.Text),  # of the record
    sa.Column("deleted_at", sa.BigInteger),
    sa.UniqueConstraint("route", "number"),
)
# At most one open experiment per route, whoever opens it.
sa.Index(
    "experiment_open",
    experiment.c.route,
    unique=True,
    sqlite_where=experiment.c.closed_at.is_(None),
    postgresql_where=experiment.c.closed_at.is_(None),
)

epoch = sa.Table(
    "epoch",
    metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("memory", sa.Integer, nullable=False),
    sa.Column("began_at", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("arms", _Json, nullable=False),
    sa.Column("shares", _Json),  # of a ramp's step; null: the route's own
    sa.Column("judge", _Json),  # who judges transcripts: ``id``, ``model``, ``questions``; null: nobody
)

# What was done to an experiment, by whom and why.
experiment_event = sa.Table(
    "experiment_event",
    metadata,
    sa.Column("seq", _Serial, primary_key=True, autoincrement=True),
    sa.Column("experiment", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("detail", _Json, nullable=False),
)
sa.Index("experiment_event_of", experiment_event.c.experiment, experiment_event.c.seq)

# Who does the work that one process does for all; whoever finds it run out takes it over.
lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
)

hold = sa.Table(
    "hold",
    metadata,
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("to", sa.Text, nullable=False),
    sa.Column("until", sa.BigInteger),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("set_at", sa.BigInteger, nullable=False),
)

call = sa.Table(
    "call",
    metadata,
    sa.Column("seq", _Serial, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("sid", sa.Text),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("direction", sa.Text, nullable=False),
    sa.Column("from_number", sa.Text, nullable=False),
    sa.Column("to_number", sa.Text, nullable=False),
    sa.Column("country", sa.Text, nullable=False),
    sa.Column("received_at", sa.BigInteger, nullable=False),
    # The assignment; all null for a number that no route names.
    sa.Column("route", sa.Text),
    sa.Column("revision", sa.Integer),
    sa.Column("experiment", sa.Text),
    sa.Column("epoch", sa.Integer),
    sa.Column("arm", sa.Text),
    sa.Column("version", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("unit", sa.Text),
    sa.Column("bucket", sa.Integer),
    sa.Column("share", sa.Double),
    sa.Column("analysed", sa.Boolean, nullable=False),
    sa.Column("journalled", sa.Boolean, nullable=False),
    # Who took it: the last handoff sent.
    sa.Column("served_by", sa.Text, nullable=False),
    sa.Column("served_arm", sa.Text),
    sa.Column("served_version", sa.Text),
    sa.Column("served_reason", sa.Text, nullable=False),
    # Derived from the events.
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("answered_at", sa.BigInteger),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("duration_seconds", sa.Integer),
    sa.Column("mature", sa.Boolean, nullable=False),
    sa.Column("mature_at", sa.BigInteger),  # when time alone will next change what counts of it, once it has ended
    sa.Column("counted", _Json),  # what of this call stands in the tallies: metric -> value
    sa.Column("strata", _Json),  # the strata it stands in too; null while it is counted as a whole only
    # When something that it was derived from was deleted: what stands and what was counted is final from then on.
    sa.Column("sealed_at", sa.BigInteger),
)
sa.Index("call_to", call.c.to_number, call.c.seq)
sa.Index("call_route", call.c.route, call.c.seq)
sa.Index("call_from", call.c.from_number, call.c.received_at)
sa.Index(
    "call_sid",
    call.c.sid,
    unique=True,
    sqlite_where=call.c.sid != call.c.id,
    postgresql_where=call.c.sid != call.c.id,
)
sa.Index(
    "call_open",
    call.c.received_at,
    sqlite_where=call.c.ended_at.is_(None),
    postgresql_where=call.c.ended_at.is_(None),
)
sa.Index(
    "call_maturing",
    call.c.mature_at,
    sqlite_where=call.c.mature_at.is_not(None),
    postgresql_where=call.c.mature_at.is_not(None),
)

# No foreign key to call: Twilio may tell of a call before, or without, our having heard of it.
call_event = sa.Table(
    "call_event",
    metadata,
    sa.Column("seq", _Serial, primary_key=True, autoincrement=True),
    sa.Column("call", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("data", _Json, nullable=False),
    sa.UniqueConstraint("call", "key"),
)

outcome = sa.Table(
    "outcome",
    metadata,
    sa.Column("call", sa.Text, primary_key=True),
    sa.Column("body", _Json, nullable=False),
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("counted", sa.Boolean, nullable=False),
)

# The first arm a sticky caller was given; ``unit`` is a keyed hash of the number.
sticky = sa.Table(
    "sticky",
    metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("memory", sa.Integer, primary_key=True),
    sa.Column("unit", sa.LargeBinary, primary_key=True),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
)

# Welford's count, mean and sum of squared deviations; cells add up, so every view is a merge.
tally = sa.Table(
    "tally",
    metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("day", sa.Integer, primary_key=True),  # days since 1970-01-01, UTC
    sa.Column("stratum", sa.Text, primary_key=True),
    sa.Column("arm", sa.Text, primary_key=True),
    sa.Column("metric", sa.Text, primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    sa.Column("mean", sa.Double, nullable=False),
    sa.Column("m2", sa.Double, nullable=False),
)

# One caller's calls in an arm: how many were measured, and the sum of what was. ``unit`` is a keyed hash of the
# number, or of the call's id for a caller who withholds it.
cluster = sa.Table(
    "cluster",
    metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("unit", sa.LargeBinary, primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("metric", sa.Text, primary_key=True),
    sa.Column("arm", sa.Text, primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    sa.Column("y", sa.Double, nullable=False),
)

# What the variance by caller needs of an arm's clusters: how many, and the sums of n, y, n², y² and n·y over them.
cluster_sum = sa.Table(
    "cluster_sum",
    metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("arm", sa.Text, primary_key=True),
    sa.Column("metric", sa.Text, primary_key=True),
    sa.Column("k", sa.BigInteger, nullable=False),
    sa.Column("sn", sa.Double, nullable=False),
    sa.Column("sy", sa.Double, nullable=False),
    sa.Column("snn", sa.Double, nullable=False),
    sa.Column("syy", sa.Double, nullable=False),
    sa.Column("sny", sa.Double, nullable=False),
)

# Which values of a text are told apart in an experiment: the first ones seen, whatever becomes of their calls.
category = sa.Table(
    "category",
    metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, primary_key=True),
)

# What is remembered of a comparison from one evaluation to the next; p only ever falls.
reading = sa.Table(
    "reading",
    metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("arm", sa.Text, primary_key=True),
    sa.Column("metric", sa.Text, primary_key=True),
    sa.Column("p", sa.Double, nullable=False),
    sa.Column("crossed_at", sa.BigInteger),
    sa.Column("crossed_n", sa.BigInteger),
    sa.Column("crossed_up", sa.Boolean),
    sa.Column("low", sa.Double),  # what all intervals so far have in common; null: no interval yet
    sa.Column("high", sa.Double),
)

# The last evaluation of an experiment; ``mark`` tells whether its tallies have changed since.
evaluation = sa.Table(
    "evaluation",
    metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("mark", sa.Text, nullable=False),
    sa.Column("body", _Json, nullable=False),
)

token = sa.Table(
    "token",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("revoked_at", sa.BigInteger),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", _Serial, primary_key=True, autoincrement=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", _Json, nullable=False),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("author", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("request", sa.LargeBinary, nullable=False),  # digest of method, path and body
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("status", sa.Integer),  # null while the first request is still at work
    sa.Column("answer", sa.Text),
)

# One dialling of one person. It has the id of its row in ``call`` and is sent at most once, ever.
attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("to_number", sa.Text, nullable=False),
    sa.Column("from_number", sa.Text, nullable=False),
    sa.Column("timezone", sa.Text),
    sa.Column("variables", _Json, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("owner", sa.Text),
    sa.Column("planned_at", sa.BigInteger, nullable=False),
    sa.Column("not_before", sa.BigInteger, nullable=False),
    sa.Column("intent_at", sa.BigInteger),
    sa.Column("looks", sa.Integer, nullable=False),
    sa.Column("contact", sa.Integer),  # the contact's line in its campaign
    sa.Column("machine", _Json),  # what to do when a machine answers
)
sa.Index("attempt_number", attempt.c.to_number, attempt.c.intent_at)
sa.Index("attempt_campaign", attempt.c.campaign, attempt.c.intent_at)
# Whatever campaign asks, nobody is rung while a call to them may be under way.
sa.Index(
    "attempt_open",
    attempt.c.to_number,
    unique=True,
    sqlite_where=sa.text("state IN ('intent', 'unknown', 'placed')"),
    postgresql_where=sa.text("state IN ('intent', 'unknown', 'placed')"),
)
sa.Index(
    "attempt_planned",
    attempt.c.not_before,
    sqlite_where=sa.text("state = 'planned'"),
    postgresql_where=sa.text("state = 'planned'"),
)
sa.Index("attempt_intent", attempt.c.intent_at)

# Who must not be called.
suppression = sa.Table(
    "suppression",
    metadata,
    sa.Column("number", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

# Who was erased, by a keyed hash of the number: all that is kept of them, so that they are not called again.
erasure = sa.Table(
    "erasure",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
)

# Keys that the gateway made for itself.
secret = sa.Table(
    "secret",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)

campaign = sa.Table(
    "campaign",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),  # why it is in this status
    sa.Column("settings", _Json, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("contacts", sa.Integer, nullable=False),
    sa.Column("skipped", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.BigInteger),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("next_at", sa.BigInteger, nullable=False),  # by its own pace no call before this
)
sa.Index("campaign_status", campaign.c.status)

# One row of a campaign's list: a person, or a row that nobody is called for.
contact = sa.Table(
    "contact",
    metadata,
    sa.Column("campaign", sa.Text, primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True),
    sa.Column("place", sa.Integer),  # among those who can be called, from 0: the seat in the permuted blocks
    sa.Column("to_number", sa.Text, nullable=False),
    sa.Column("timezone", sa.Text),
    sa.Column("consent", sa.Text),
    sa.Column("variables", _Json, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # waiting, dialling, done or skipped
    sa.Column("result", sa.Text),  # how the last attempt ended, or the kind of reason for skipping
    sa.Column("text", sa.Text),  # the reason in a sentence
    sa.Column("not_before", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("call", sa.Text),  # the latest attempt
    # The assignment, stored at the first attempt and kept through every other.
    sa.Column("arm", sa.Text),
    sa.Column("version", sa.Text),
    sa.Column("revision", sa.Integer),
    sa.Column("experiment", sa.Text),
    sa.Column("epoch", sa.Integer),
    sa.Column("why", sa.Text),
    sa.Column("share", sa.Double),
    sa.Column("analysed", sa.Boolean),
)
sa.Index(
    "contact_waiting",
    contact.c.campaign,
    contact.c.not_before,
    contact.c.line,
    sqlite_where=sa.text("state = 'waiting'"),
    postgresql_where=sa.text("state = 'waiting'"),
)
sa.Index("contact_state", contact.c.campaign, contact.c.state, contact.c.result, contact.c.arm)

# One row, locked by every claim: the kill switch, the pace of all calls, and what puts claims in one order.
dialing = sa.Table(
    "dialing",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("stopped", sa.Boolean, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("next_at", sa.BigInteger, nullable=False, server_default="0"),
)

# A transcript to be judged, or what was found in it. ``digest`` is the transcript's: another one is judged anew.
analysis = sa.Table(
    "analysis",
    metadata,
    sa.Column("call", sa.Text, primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("asked_at", sa.BigInteger, nullable=False),
    sa.Column("due_at", sa.BigInteger, nullable=False),  # of a claimed one: when the claim lapses
    sa.Column("owner", sa.Text),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("judge", sa.Text),
    sa.Column("verdicts", _Json),
    sa.Column("reason", sa.Text),
    sa.Column("tokens_in", sa.BigInteger, nullable=False),
    sa.Column("tokens_out", sa.BigInteger, nullable=False),
    sa.Column("finished_at", sa.BigInteger),
)
sa.Index(
    "analysis_due",
    analysis.c.due_at,
    sqlite_where=sa.text("state IN ('waiting', 'claimed')"),
    postgresql_where=sa.text("state IN ('waiting', 'claimed')"),
)

# What a person found in a call, to hold the judge's verdict against.
label = sa.Table(
    "label",
    metadata,
    sa.Column("call", sa.Text, primary_key=True),
    sa.Column("criterion", sa.Text, primary_key=True),
    sa.Column("author", sa.Text, primary_key=True),
    sa.Column("value", _Json, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("experiment", sa.Text, index=True),  # the call's, so that an experiment's labels are found at once
)
# Something that happened and that the outside is told of; written in the transaction that made it happen.
notice = sa.Table(
    "notice",
    metadata,
    sa.Column("seq", _Serial, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("body", _Json, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("addressed_at", sa.BigInteger),  # when its deliveries were made; null until then
)
sa.Index(
    "notice_new",
    notice.c.seq,
    sqlite_where=notice.c.addressed_at.is_(None),
    postgresql_where=notice.c.addressed_at.is_(None),
)

# One notice on its way to one receiver.
delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("notice", sa.Text, sa.ForeignKey("notice.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("receiver", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),  # waiting, sent or failed
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("due_at", sa.BigInteger),  # when it is tried next, or may be by another process; null at its end
    sa.Column("text", sa.Text),  # what came of the last try
    sa.Column("ended_at", sa.BigInteger),
)
sa.Index(
    "delivery_due",
    delivery.c.due_at,
    sqlite_where=delivery.c.due_at.is_not(None),
    postgresql_where=delivery.c.due_at.is_not(None),
)
sa.Index("delivery_ended", delivery.c.receiver, delivery.c.ended_at)
# Who is signed in to the console. A secret is renewed while it is used; those of one sign-in are one family.
session = sa.Table(
    "session",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("token", sa.LargeBinary, nullable=False, index=True),  # the digest of the token that opened it
    sa.Column("family", sa.Text, nullable=False),
    sa.Column("began_at", sa.BigInteger, nullable=False),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)
