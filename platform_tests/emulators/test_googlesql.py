"""GoogleSQL's analyzer tells what BigQuery would refuse before it runs anything."""

import pytest
from platform_tests.emulators.parts import GoogleSQL

TABLES = {
    "malacate.loads": {"batch_id": "STRING", "ordinal": "INT64", "tags": "ARRAY<STRING>"},
    "malacate.claims": {"batch_id": "STRING", "state": "STRING"},
}


def errors(google: GoogleSQL, sql: str, **parameters: str) -> list[str]:
    return [one.error for one in google.check(sql, TABLES, parameters)]


def test_a_whole_transaction_is_analyzed_statement_by_statement(google: GoogleSQL) -> None:
    script = """
        begin transaction;
        update malacate.claims set state = 'loaded' where batch_id = 'b' and state = 'claimed';
        select if((select count(*) = 1 from malacate.claims), 0, error('malacate: fenced'));
        insert into malacate.loads (batch_id, ordinal) select batch_id, 1 from malacate.claims;
        delete from malacate.claims where true;
        merge malacate.loads l using malacate.claims c on l.batch_id = c.batch_id
            when matched then delete
            when not matched then insert (batch_id) values (c.batch_id);
        commit transaction;
    """
    assert errors(google, script) == [""] * 7


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("select * from malacate.nowhere", "Table not found: malacate.nowhere"),
        ("select batch from malacate.loads", "Unrecognized name: batch"),
        ("select ordinal = 'a' from malacate.loads", "No matching signature for operator ="),
        ("select ordinal from malacate.loads group by batch_id", "neither grouped nor aggregated"),
        ("insert into malacate.loads (ordinal) values ('x')", "type STRING"),
        ("delete from malacate.loads", "WHERE"),
        ("select rows from malacate.loads", "Unexpected keyword ROWS"),
        ("select x from unnest([1]) as x with offset as at", "Unexpected keyword AT"),
        ("select cast(1 as int32)", "Type not found: int32"),
        ("insert into malacate.loads (ordinal) values (1) then return ordinal", "THEN RETURN"),
    ],
)
def test_what_bigquery_refuses_is_refused(google: GoogleSQL, sql: str, error: str) -> None:
    (told,) = errors(google, sql)
    assert error in told


def test_a_refused_statement_does_not_hide_those_after_it(google: GoogleSQL) -> None:
    told = google.check("select nothing; select 1;\nselect nowhere", TABLES)
    assert [one.sql for one in told] == ["select nothing;", "select 1;", "select nowhere"]
    assert [bool(one.error) for one in told] == [True, False, True]


def test_nothing_is_read_after_what_cannot_be_parsed(google: GoogleSQL) -> None:
    good, bad = google.check("select 1; selec 2; select 3")
    assert not good.error
    assert bad.sql == "selec 2; select 3"
    assert "Syntax error" in bad.error


def test_tables_and_views_are_there_once_they_are_created(google: GoogleSQL) -> None:
    script = """
        create or replace temp table touched as select batch_id from malacate.loads;
        create or replace temp table touched as select ordinal from malacate.loads;
        select ordinal from touched;
        create table if not exists raw.t (a numeric(20, 3), b timestamp not null, c float64)
            partition by date(b) cluster by a options (labels = [('app', 'malacate')]);
        create or replace view raw.v as select a + 1 as next, c * 2.5 as half from raw.t;
        select next, half from raw.v;
        alter table raw.t add column if not exists d string;
        alter table raw.t alter column a set data type bignumeric
    """
    assert errors(google, script) == [""] * 8
    assert errors(google, "select * from touched") != [""]


def test_parameters_have_types(google: GoogleSQL) -> None:
    sql = "select * from malacate.loads where batch_id in unnest(@batches)"
    assert errors(google, sql, batches="ARRAY<STRING>") == [""]
    assert "ARRAY<INT64>" in errors(google, sql, batches="ARRAY<INT64>")[0]
    assert "batches" in errors(google, sql)[0]


def test_a_table_that_cannot_be_is_told_and_the_next_question_answered(google: GoogleSQL) -> None:
    (told,) = google.check("select 1", {"d.t": {"a": "varchar"}})
    assert "Type not found: varchar" in told.error
    assert errors(google, "select 1") == [""]


def test_columns_keep_their_order(google: GoogleSQL) -> None:
    sql = "insert into malacate.loads values ('b', 1, ['x'])"
    assert errors(google, sql) == [""]
