"""Views for readers: one name over whatever stands beneath, and nobody sees more than is his."""

import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from hypothesis import example, given
from hypothesis import strategies as st
from platform_tests.emulators import parts
from platform_tests.warehouse.batches import Batches, drop, table
from platform_tests.warehouse.engines import Engine, on_bigquery, on_duckdb
from platform_tests.warehouse.test_bigquery_words import Strict

from malacate.contracts.table import Column
from malacate.errors import ConfigError, WarehouseError
from malacate.names import TableName
from malacate.warehouse.views import GUARDS, Reader, View, condition

COLUMNS = (
    Column("id", pa.int64(), True), Column("pit", pa.string()), Column("t", pa.float64()),
    Column("who", pa.string()),
)  # fmt: skip
ROWS = [
    {"id": 1, "pit": "north", "t": 1.5, "who": "ana"},
    {"id": 2, "pit": "south", "t": 2.5, "who": "bo"},
    {"id": 3, "pit": None, "t": -1.0, "who": "ana"},
]
PLANNING = Reader("planning", ("group:planning@acme.example", "user:eva@acme.example"))
NORTH = Reader("north_pit", ("group:north@acme.example",), condition("pit = 'north'", ["pit"]))
ROCK = TableName("raw_lab", "rock")
VIEW = View(
    TableName("share", "rock"), ROCK, {"id": "id", "pit": "pit", "weight_t": "t", "who": "who"},
    (PLANNING, NORTH), masked=["who"], rows=condition("t > 0", ["t"]),
)  # fmt: skip
SEEN = {"planning": [1, 2], "north_pit": [1]}
Ask = Callable[[str, str], list[dict[str, Any]]]


def load(engine: Engine, *columns: Column, name: str = "rock") -> Engine:
    batches = Batches(engine.lake, table(*(columns or COLUMNS), name=name))
    engine.warehouse.publish([batches.of(drop(name), ROWS)])
    return engine


@pytest.fixture(params=["duckdb", "bigquery"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if request.param == "duckdb":
        return load(on_duckdb(tmp_path))
    url: str = request.getfixturevalue("bigquery_url")
    return load(on_bigquery(request.getfixturevalue("bigquery_server"), url))


@pytest.fixture
def ask(request: pytest.FixtureRequest, engine: Engine) -> Ask:
    """What a view shows to a reader, who has no more than he was given."""
    if engine.name == "bigquery":
        return by_members(request.getfixturevalue("bigquery_server"), engine)
    folder = Path(engine.warehouse.location).parent / "share"

    def from_files(reader: str, view: str) -> list[dict[str, Any]]:
        file = folder / reader / f"{view}.parquet"
        with duckdb.connect() as connection:
            return connection.sql(f"from '{file}' order by all").to_arrow_table().to_pylist()

    return from_files


def by_members(server: parts.BigQuery, engine: Engine) -> Ask:
    def as_member(reader: str, view: str) -> list[dict[str, Any]]:
        members = {"planning": PLANNING.members, "north_pit": NORTH.members}.get(reader, ())
        client = member_of(server, engine.warehouse.location, members)
        rows = client.query(f"select * from share.{view} order by id").result()
        return [dict(row) for row in rows]

    return as_member


def member_of(server: parts.BigQuery, project: str, members: Sequence[str]) -> bigquery.Client:
    options = {"api_endpoint": server.url}
    client = bigquery.Client(project, credentials=AnonymousCredentials(), client_options=options)
    groups = [one.partition(":")[2] for one in members if one.startswith("group:")]
    client._http.headers.update(
        {"X-Bqemu-Caller": "user:some@body.example", "X-Bqemu-Groups": ",".join(groups)}
    )
    return client


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return sorted(row["id"] for row in rows)


def test_each_reader_sees_his_rows_in_the_columns_of_the_view(engine: Engine, ask: Ask) -> None:
    engine.warehouse.share(VIEW)
    assert {reader: ids(ask(reader, "rock")) for reader in SEEN} == SEEN
    assert ask("north_pit", "rock") == [{"id": 1, "pit": "north", "weight_t": 1.5, "who": None}]


def test_to_make_a_view_again_changes_nothing(engine: Engine, ask: Ask) -> None:
    for _ in range(3):
        engine.again().share(VIEW)
    assert {reader: ids(ask(reader, "rock")) for reader in SEEN} == SEEN


def test_a_reader_that_is_declared_no_more_sees_nothing(engine: Engine, ask: Ask) -> None:
    engine.warehouse.share(VIEW)
    engine.again().share(replace(VIEW, readers=(PLANNING,)))
    assert ids(ask("planning", "rock")) == [1, 2]
    if engine.name == "duckdb":
        with pytest.raises(duckdb.IOException):
            ask("north_pit", "rock")
    else:
        assert ask("north_pit", "rock") == []


def test_a_view_keeps_name_and_columns_when_its_table_is_replaced_renamed_and_grows(
    engine: Engine, ask: Ask
) -> None:
    engine.warehouse.share(VIEW)
    before = ask("planning", "rock")
    moved = [replace(COLUMNS[0], type=pa.int64()), COLUMNS[1], replace(COLUMNS[2], name="tonnes"),
             COLUMNS[3], Column("new", pa.string())]  # fmt: skip
    batches = Batches(engine.lake, table(*moved, name="rock_2"))
    rows = [{**row, "tonnes": row["t"]} for row in ROWS]
    engine.warehouse.publish([batches.of(drop("again"), rows)])
    columns = {**VIEW.columns, "weight_t": "tonnes"}
    renamed = replace(VIEW, table=TableName("raw_lab", "rock_2"), columns=columns,
                      rows=condition("tonnes > 0", ["tonnes"]))  # fmt: skip
    engine.again().share(renamed)
    assert ask("planning", "rock") == before
    schema = engine.warehouse.read(VIEW.name).schema
    assert schema.names == list(VIEW.columns)


def test_a_table_that_dbt_replaces_is_not_open_for_a_moment(
    bigquery_server: parts.BigQuery, bigquery_url: str
) -> None:
    """``create or replace table`` takes the row policies of a table with it."""
    engine = load(on_bigquery(bigquery_server, bigquery_url))
    ask = by_members(bigquery_server, engine)
    engine.warehouse.share(VIEW)
    owner = member_of(bigquery_server, engine.warehouse.location, ())
    owner.query(
        "create or replace table raw_lab.rock as "
        "select 9 as id, 'south' as pit, 1.0 as t, 'eva' as who"
    ).result()
    assert ids(ask("planning", "rock")) == [9]
    assert ids(ask("north_pit", "rock")) == []
    assert ask("nobody", "rock") == []


def test_whoever_is_no_reader_sees_no_row_on_bigquery(
    bigquery_server: parts.BigQuery, bigquery_url: str
) -> None:
    engine = load(on_bigquery(bigquery_server, bigquery_url))
    engine.warehouse.share(VIEW)
    assert by_members(bigquery_server, engine)("nobody", "rock") == []
    assert engine.warehouse.read(VIEW.name).num_rows == 0
    assert engine.warehouse.query(VIEW.count()).to_pylist() == [{"n": 2}]


def test_a_view_of_what_is_not_there_is_refused_and_leaves_nothing(engine: Engine) -> None:
    for wrong in (
        replace(VIEW, table=TableName("raw_lab", "none")),
        replace(VIEW, columns={"id": "id", "none": "none"}),
    ):
        with pytest.raises(WarehouseError):
            engine.warehouse.share(wrong)
    assert not engine.warehouse.exists(VIEW.name)


def test_readers_are_let_into_the_views_and_views_onto_their_tables_alone(
    bigquery_server: parts.BigQuery, bigquery_url: str
) -> None:
    """On what is sent: the emulator forgets which dataset is authorized, and asks for no role."""
    asked: list[tuple[str, list[dict[str, Any]]]] = []

    class Watched(bigquery.Client):
        def update_dataset(self, dataset: Any, fields: Any, **more: Any) -> Any:
            assert fields == ["access_entries"]
            entries = [one.to_api_repr() for one in dataset.access_entries]
            asked.append((dataset.dataset_id, entries))
            return super().update_dataset(dataset, fields, **more)

    engine = load(on_bigquery(bigquery_server, bigquery_url, client=Watched))
    engine.warehouse.share(VIEW)
    here = {"projectId": engine.warehouse.location, "datasetId": "share"}
    views = {"dataset": {"dataset": here, "targetTypes": ["VIEWS"]}}
    assert asked == [
        (GUARDS, [views]),
        ("raw_lab", [views]),
        ("share", [
            {"role": "READER", "groupByEmail": "north@acme.example"},
            {"role": "READER", "groupByEmail": "planning@acme.example"},
            {"role": "READER", "userByEmail": "eva@acme.example"},
        ]),
    ]  # fmt: skip
    asked.clear()
    engine.again().share(VIEW)
    assert "share" not in dict(asked)


@pytest.fixture(scope="module")
def analyzer() -> Iterator[parts.GoogleSQL]:
    with parts.googlesql() as started:
        yield started


def test_what_makes_a_view_is_googlesql_and_its_policies_come_first(
    bigquery_server: parts.BigQuery, bigquery_url: str, analyzer: parts.GoogleSQL
) -> None:
    sent: list[str] = []

    class Analyzed(Strict):
        seen = 0

        def query(self, query: str, job_config: Any = None, **more: Any) -> Any:
            sent.append(query)
            return super().query(query, job_config=job_config, **more)

    Analyzed.analyzer = analyzer
    engine = load(on_bigquery(bigquery_server, bigquery_url, client=Analyzed))
    sent.clear()
    engine.warehouse.share(VIEW)
    engine.warehouse.query(VIEW.count())
    assert engine.warehouse.query(VIEW.empty()).schema.names == list(VIEW.columns)
    made = [
        statement for statement in dict.fromkeys(sent) if statement.lower().startswith("create")
    ]
    assert [statement.lower().split(" as ")[0] for statement in made] == [
        "create table if not exists `malacate_readers`.`planning`",
        "create or replace row access policy members on `malacate_readers`.`planning` grant to "
        "('group:planning@acme.example', 'user:eva@acme.example') filter using (true)",
        "create table if not exists `malacate_readers`.`north_pit`",
        "create or replace row access policy members on `malacate_readers`.`north_pit` grant to "
        "('group:north@acme.example') filter using (true)",
        "create or replace view `share`.`rock`",
    ]


def test_members_that_changed_are_granted_anew_before_the_view_is_made(
    bigquery_server: parts.BigQuery, bigquery_url: str
) -> None:
    """The emulator refuses to replace a policy; that it is asked to, and first, is what counts."""
    engine = load(on_bigquery(bigquery_server, bigquery_url))
    engine.warehouse.share(VIEW)
    changed = replace(NORTH, members=("group:other@acme.example",))
    with pytest.raises(WarehouseError, match="row_access_policy"):
        engine.again().share(replace(VIEW, readers=(changed,)))


def test_a_reader_s_file_is_replaced_whole_and_never_locked(tmp_path: Path) -> None:
    engine = load(on_duckdb(tmp_path))
    engine.warehouse.share(VIEW)
    file = tmp_path / "share" / "planning" / "rock.parquet"
    first = file.stat().st_ino
    with file.open("rb") as held, engine.warehouse._open():  # type: ignore[attr-defined]
        assert pq.read_table(file).num_rows == 2
        assert held.read(4) == b"PAR1"
    engine.again().share(VIEW)
    assert file.stat().st_ino != first
    assert stat.S_ISREG(file.stat().st_mode)
    assert [path.name for path in file.parent.iterdir()] == ["rock.parquet"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pit in (select pit from raw_lab.rock)", "In"),
        ("exists (select 1)", "Exists"),
        ("pit = (select 'north')", "Subquery"),
        ("read_text('/etc/passwd') = ''", "read_text"),
        ("getenv('HOME') = pit", "GETENV"),
        ("current_setting('x') = pit", "CURRENT_SETTING"),
        ("true; drop table raw_lab.rock", "2 statements"),
        ("true) or (true", "Invalid expression"),
        ("true -- and all", "/* and all */"),
        ("count(*) > 1", "Count"),
        ("row_number() over () = 1", "Window"),
        ("raw_lab.rock.pit = 'x'", "Column"),
        ("other.pit = 'x'", "Column"),
        ("pit = $1", "Placeholder"),
        ("*", "Star"),
        ("1", "neither true nor false"),
        ("t + 1", "neither true nor false"),
        ("select 1", "Select"),
        ("", "statements"),
    ],
)  # fmt: skip
def test_rows_are_told_by_one_condition_over_the_row_and_nothing_else(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        condition(text, ["pit", "t"])
    assert caught.value.reason == "bad_condition"
    assert told.lower() in caught.value.actual.lower()


def test_a_condition_over_a_column_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no column 'pitt'.*pit, t"):
        condition("pitt = 'north'", ["pit", "t"])


@given(st.text(max_size=30))
@example("' or 1=1 --")
@example("\\")
@example("`")
@example("?")
def test_a_value_stays_a_value_whatever_is_in_it(value: str) -> None:
    if "\0" in value:
        return
    quoted = value.replace("'", "''")
    text = condition(f"pit = '{quoted}'", ["pit"])
    with duckdb.connect() as connection:
        found = connection.execute(f"select {text} from (select $1 as pit)", [value]).fetchall()
    assert found == [(True,)]
