"""The state behind a change log: for each key the change that the source made last.

Whatever the order, the number and the batching of deliveries, the state is the same function of
the set of changes that the log holds. Most changes are newer than what the state has, and are
compared with it alone; where that could be wrong, the keys are folded again from the whole log.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from malacate.contracts.changes import STATE_COLUMNS
from malacate.contracts.table import Table
from malacate.names import quote
from malacate.warehouse.protocol import BATCH_COLUMN, IfAny

_POSITION = ("_position_hi", "_position_lo", "_seq")
_LAST = ", ".join(f"{name} desc" for name in (*_POSITION, "_source_at", "_event_id"))
_META = tuple(column.name for column in STATE_COLUMNS if column.name != "is_deleted")
_UNPLACED = "(_is_snapshot and _position_hi = 0 and _position_lo = 0)"
_TRUNCATE = "_op = 'T'"
_COMES = f"{BATCH_COLUMN} in (select batch_id from touching)"
_GONE = "_op in ('D', 'T')"
_NEVER = "9223372036854775807"


def _q(names: Iterable[str], of: str = "") -> str:
    return ", ".join(f"{of}{quote(name, 'duckdb')}" for name in names)


def _is_after(left: str, right: str) -> str:
    """Whether one position follows another; no dialect but DuckDB's compares tuples."""
    hi, lo, seq = ((f"{left}.{name}", f"{right}.{name}") for name in _POSITION)
    tie = f"{lo[0]} = {lo[1]} and {seq[0]} > {seq[1]}"
    return f"({hi[0]} > {hi[1]} or ({hi[0]} = {hi[1]} and ({lo[0]} > {lo[1]} or ({tie}))))"


@dataclass(frozen=True)
class Fold:
    """Current state by key: the last change wins, a deletion stays as a tombstone.

    Changes are ordered by position. A snapshot without one is compared by its instant with the
    last change that has one, which wins a tie. A truncate deletes every key that is before it.
    What a change did not send is what the change before it left, under the old key if it moved.
    ``table`` is the state's contract without the change columns.
    """

    table: Table

    @property
    def target(self) -> Table:
        """The state table."""
        return self.table.having(*STATE_COLUMNS)

    @property
    def by_hour(self) -> None:
        """A change is of a key, whenever it was."""

    def touched(self, published: Table) -> str:
        """Keys that changed."""
        log = published.name.sql("duckdb")
        return f"select distinct {self._key} from {log} where not {_TRUNCATE} and {_COMES}"

    def statements(self, published: Table) -> Sequence[str | IfAny]:
        """Compare what came with the state; fold again what that cannot decide."""
        log, state = published.name.sql("duckdb"), self.target.name.sql("duckdb")
        columns = f"{_q(self._columns)}, {BATCH_COLUMN}"
        into = f"insert into {state} ({columns}, is_deleted) select {columns}, {_GONE}"
        wins = "from incoming where not _is_behind and not _is_unsure"
        none_again = f"{self._tuple} not in (select {self._tuple} from again)"
        return (
            self._moved(log),
            self._incoming(log, state),
            self._again(log, state),
            f"delete from {state} where {self._tuple} in (select {self._tuple} {wins})",
            f"{into} from {log} where {_COMES} and not {_TRUNCATE} "
            f"and {self._change} in (select {self._change} {wins}) and {none_again}",
            IfAny(
                "again",
                (
                    f"insert into again select {self._key} from moved",
                    self._events(log),
                    self._feeds(),
                    f"delete from {state} where {self._tuple} in (select {self._tuple} from again)",
                    f"{into} from ({self._folded()}) as folded",
                ),
            ),
        )

    def lineage(self) -> Mapping[str, Sequence[str]]:
        """Every column from the one of its name; the tombstone from the operation."""
        names = [column.name for column in self.target.columns]
        return {name: ["_op"] if name == "is_deleted" else [name] for name in names}

    @property
    def _key(self) -> str:
        return _q(self.table.key)

    @property
    def _tuple(self) -> str:
        return f"({self._key})"

    @property
    def _change(self) -> str:
        """One delivery of one change: what readers promise of ``_file_row`` makes it so."""
        return f"({self._key}, _seq, {BATCH_COLUMN}, _file_row)"

    @property
    def _values(self) -> list[str]:
        return [c.name for c in self.table.columns if c.name not in self.table.key]

    @property
    def _columns(self) -> list[str]:
        return [*self.table.key, *self._values, *_META]

    def _same_key(self, left: str, right: str) -> str:
        pairs = ((_q([k], left), _q([k], right)) for k in self.table.key)
        return " and ".join(f"{one} = {other}" for one, other in pairs)

    def _moved(self, log: str) -> str:
        """Keys on both ends of key changes that did not send all columns."""
        return (
            "create or replace temp table moved as "
            f"select {_q(self.table.key, 'd.')}, true as _is_old from {self._halves(log)} "
            f"union all select {_q(self.table.key, 'i.')}, false from {self._halves(log)}"
        )

    def _halves(self, events: str) -> str:
        return (
            f"(select * from {events} where _is_key_change and _op = 'D') as d "
            f"join (select * from {events} where _is_key_change and _missing is not null "
            "and _op = 'I') as i on d._position_hi = i._position_hi "
            "and d._position_lo = i._position_lo and d._seq + 1 = i._seq"
        )

    def _incoming(self, log: str, state: str) -> str:
        """The last change of each key that came, beside what the state has of the key."""
        unsure = (
            "s._missing is not null or (s._is_snapshot and s._position_hi = 0 and "
            f"s._position_lo = 0) or ({_is_after('n', 's')} and n._source_at < s._source_at)"
        )
        chosen = ", ".join((self._key, *_POSITION, "_source_at", "_file_row", BATCH_COLUMN))
        return (
            f"create or replace temp table incoming as with n as (select {chosen} from {log} "
            f"where {_COMES} and not {_TRUNCATE} and not {_UNPLACED} "
            f"qualify row_number() over (partition by {self._key} order by {_LAST}) = 1) "
            f"select n.*, s._op is null as _is_new, "
            f"coalesce(not {_is_after('n', 's')}, false) as _is_behind, "
            f"coalesce({unsure}, false) as _is_unsure "
            f"from n left join {state} as s on {self._same_key('n.', 's.')}"
        )

    def _again(self, log: str, state: str) -> str:
        """Keys for which the state alone does not tell what is last."""
        truncated = f"(select * from {log} where {_TRUNCATE})"
        came = f"select {self._key} from {log} where {_COMES} and not {_TRUNCATE}"
        sure = (
            f"select {self._key} from gone",
            f"select {self._key} from incoming where _is_unsure",
            f"{came} and (_missing is not null or {_UNPLACED})",
            f"select {_q(self.table.key, 'n.')} from incoming as n where n._is_new and exists "
            f"(select 1 from {truncated} as t where {_is_after('t', 'n')})",
            f"select {self._key} from {state} where exists "
            f"(select 1 from {truncated} as t where {_COMES})",
            f"select {_q(self.table.key, 'm.')} from moved as m where m._is_old and "
            f"({_q(self.table.key, 'm.')}) in (select {self._tuple} from ({came}) as came)",
        )
        return "create or replace temp table again as " + " union ".join(sure)

    def _events(self, log: str) -> str:
        """All changes of those keys in the order of the log, a truncate as one of each key.

        A snapshot without a position stands where its instant is among the others' instants. A
        segment is a row's life under one key: it begins where all of the row is sent.
        """
        carried = [*self._values, *_META, "_is_key_change", "_event_id", BATCH_COLUMN]
        order = ", ".join(f"{n} nulls first" for n in (*_POSITION, "_source_at", "_event_id"))
        later = f"order by {order} rows between current row and unbounded following"
        of_key = f"partition by {self._key}"
        begins = "max(case when _op in ('I', 'R') then _at end)"
        return (
            "create or replace temp table events as with mine as ("
            f"select {self._key}, {_q(carried)} from {log} where not {_TRUNCATE} "
            f"and {self._tuple} in (select {self._tuple} from again) union all "
            f"select {_q(self.table.key, 'k.')}, {_q(carried, 't.')} "
            f"from (select distinct {self._key} from again) as k cross join (select * from {log} "
            f"where {_TRUNCATE} qualify row_number() over (order by {_LAST}) = 1) as t), "
            f"timed as (select *, min(_source_at) over ({of_key}, {_UNPLACED} {later}) as _from_at "
            "from mine), numbered as (select *, row_number() over (order by _from_at nulls first, "
            f"not {_UNPLACED} nulls first, {order}) as _at from timed) "
            f"select *, coalesce({begins} over ({of_key} order by _at nulls first), "
            f"-min(_at) over ({of_key})) as _segment from numbered"
        )

    def _feeds(self) -> str:
        """From which segments each has the values that it was not sent: its own, and the one
        that its row was in before its key changed.
        """
        return (
            "create or replace temp table feeds as with recursive pairs as ("
            "select i._segment as _segment, d._segment as _source, max(d._at) as _upto "
            f"from {self._halves('events')} group by i._segment, d._segment), fed as ("
            f"select distinct _segment, _segment as _source, {_NEVER} as _upto, 0 as _hops "
            "from events "
            "union all select fed._segment, pairs._source, pairs._upto, fed._hops + 1 "
            "from fed join pairs on fed._source = pairs._segment) select * from fed"
        )

    def _folded(self) -> str:
        """What each of those keys ends as."""
        values = ", ".join(self._carried(name) for name in self._values)
        kept = f"{self._key}, {_q(_META)}, {BATCH_COLUMN}, _at, _hops"
        columns = f"{_q(self._columns)}, {BATCH_COLUMN}"
        return (
            "with shown as (select e.*, f._segment as _in, f._hops as _hops from events as e "
            "join feeds as f on e._segment = f._source and e._at <= f._upto), "
            f"whole as (select {kept}{', ' + values if values else ''} from shown) "
            f"select {columns} from whole where _hops = 0 "
            f"qualify row_number() over (partition by {self._key} order by _at desc) = 1"
        )

    def _carried(self, name: str) -> str:
        column = quote(name, "duckdb")
        sent = (
            f"(_op in ('I', 'U', 'R') and strpos(concat(',', coalesce(_missing, ''), ','), "
            f"',{name},') = 0)"
        )
        last = f"last_value(case when {sent} then struct_pack(v := {column}) end ignore nulls)"
        within = "partition by _in order by _hops desc, _at nulls first"
        return f"case when {_GONE} then {column} else ({last} over ({within})).v end as {column}"
