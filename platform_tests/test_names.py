from collections.abc import Iterator

import duckdb
import pytest
import sqlglot
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlglot import exp
from sqlglot.tokens import TokenType

from malacate.errors import ConfigError
from malacate.names import LAYER, LEGAL, TableName, legal, quote

LAYERS = st.from_regex(LAYER, fullmatch=True)
PARTS = st.from_regex(LEGAL, fullmatch=True)
CROWDED = st.text("ab_", min_size=1, max_size=4).filter(LEGAL.fullmatch)
KEYS = st.tuples(LAYERS, PARTS) | st.tuples(LAYERS, PARTS, PARTS)
CROWDED_KEYS = st.tuples(st.sampled_from("ab"), CROWDED) | st.tuples(
    st.sampled_from("ab"), CROWDED, CROWDED
)

PARTS_OF_AN_ATTACK = st.sampled_from(
    [
        *('"', "`", "'", "\\", ";", "--", "/*", "*/", "]", "[", ".", "$", "{{", "%s"),
        *("\n", "\t", " ", "select", "ñ", "🪨", "e\u0301", "\u00e9"),
        *("drop table canary", "); delete from canary; --"),
    ]
)
ANYTHING = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
HOSTILE = st.lists(PARTS_OF_AN_ATTACK | ANYTHING, min_size=1, max_size=5).map("".join)
HOSTILE = HOSTILE.filter(bool)
THOUSAND = settings(max_examples=1000)


@given(KEYS)
def test_the_table_of_a_key_leads_back_to_the_key(key: tuple[str, ...]) -> None:
    assert TableName.of(key).key == key


@given(st.lists(KEYS | CROWDED_KEYS, min_size=2, max_size=30, unique=True))
def test_no_two_keys_share_a_table(keys: list[tuple[str, ...]]) -> None:
    assert len({str(TableName.of(key)) for key in keys}) == len(keys)


def test_keys_that_differ_only_in_where_the_underscore_stands_stay_apart() -> None:
    keys = [("raw", "crm_a", "b"), ("raw", "crm", "a_b"), ("raw", "crm_a_b")]
    assert len({TableName.of(key) for key in keys}) == 3


@pytest.mark.parametrize(
    "key",
    [
        ("raw",),
        ("raw", "a", "b", "c"),
        ("raw_x", "a", "b"),
        ("Raw", "a"),
        ("raw", "A"),
        ("raw", "", "b"),
        ("raw", "a", "b\n"),
        ("", "a"),
    ],
)
def test_a_key_without_a_table_is_refused(key: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        TableName.of(key)
    assert caught.value.advice


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("Tonnes Moved", "tonnes_moved"),
        ("payload-t", "payload_t"),
        ("ÑANDÚ", "and"),
        ("a" * 64, "a" * 63),
        ("%%%", "name"),
        ("1e3", "n1e3"),
        ("2026_plan", "n2026_plan"),
    ],
)
def test_an_illegal_name_is_refused_with_a_proposal(name: str, proposal: str) -> None:
    with pytest.raises(ConfigError, match=f"'{proposal}'"):
        legal(name, "column")


@given(st.text(max_size=80))
def test_whatever_is_refused_the_proposal_is_legal(name: str) -> None:
    try:
        assert legal(name, "column") == name
    except ConfigError as error:
        proposal = error.advice.rsplit("'", 2)[1]
        assert legal(proposal, "column") == proposal


@pytest.mark.parametrize("dialect", ["duckdb", "postgres", "bigquery"])
@THOUSAND
@given(name=HOSTILE)
@example('a"b')
@example("a`b")
@example("a\\")
@example("\\`")
def test_a_quoted_identifier_is_one_token_that_reads_back_as_itself(
    dialect: str, name: str
) -> None:
    tokens = sqlglot.tokenize(quote(name, dialect), dialect=dialect)
    assert [(token.token_type, token.text) for token in tokens] == [(TokenType.IDENTIFIER, name)]


@pytest.mark.parametrize("dialect", ["duckdb", "postgres", "bigquery"])
@settings(max_examples=200)
@given(schema=HOSTILE, table=HOSTILE, column=HOSTILE)
def test_a_statement_of_quoted_names_parses_back_to_them(
    dialect: str, schema: str, table: str, column: str
) -> None:
    if dialect == "bigquery":
        # It splits what stands between backticks at dots, and allows them in no name.
        schema, table, column = (text.replace(".", "_") for text in (schema, table, column))
    text = f"select {quote(column, dialect)} from {TableName(schema, table).sql(dialect)}"
    statement = sqlglot.parse_one(text, dialect=dialect)
    assert [(one.db, one.name) for one in statement.find_all(exp.Table)] == [(schema, table)]
    assert [one.name for one in statement.find_all(exp.Column)] == [column]


@pytest.fixture(scope="module")
def canary() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("create table canary as select 42 as answer")
        yield connection


@THOUSAND
@given(column=HOSTILE, value=HOSTILE)
@example(column='"; drop table canary; --', value="'); drop table canary; --")
def test_hostile_names_and_values_leave_the_canary_alone(
    canary: duckdb.DuckDBPyConnection, column: str, value: str
) -> None:
    name = quote(column, "duckdb")
    canary.execute(f"create or replace temp table victim ({name} varchar)")
    canary.execute(f"insert into victim ({name}) values (?)", [value])
    result = canary.execute(f"select {name} from victim")
    assert result.description[0][0] == column
    assert result.fetchall() == [(value,)]
    assert canary.execute("from canary").fetchall() == [(42,)]
