"""Views for readers, declared in YAML: an asset each, held against what its table promises."""

import dagster as dg
import pyarrow.parquet as pq
import pytest
from platform_tests.company import Company, run_to_end, sale, sales

from acme.definitions import DEFS
from malacate.components.declared import load_declared
from malacate.components.promised_columns import promised_columns
from malacate.errors import ConfigError
from malacate.names import TableName

SALE, VIEW = "raw/shop/sale", "share/sale"
SHARE = """\
type: malacate.components.ConsumptionViews
attributes:
  readers:
    planning: ["group:planning@acme.example"]
    partner: ["user:pat@partner.example"]
  views:
    - name: sale
      table: raw/shop/sale
      description: Sales that weigh something, without who bought.
      without: [pii.direct]
      renamed: {tonnes_t: weight_t}
      rows: weight_t > 0
      seen_by:
        - reader: planning
        - reader: partner
          rows: sale_id <= 1
"""


@pytest.fixture
def company(shop: Company) -> Company:
    shop.write("defs/share/defs.yaml", SHARE)
    shop.drop("sales/1.csv", sales(sale(1), sale(2), sale(3, 0)))
    return shop


def test_a_view_is_an_asset_that_follows_its_table(
    company: Company, instance: dg.DagsterInstance
) -> None:
    node = company.definitions.resolve_asset_graph().get(dg.AssetKey(["share", "sale"]))
    assert node.parent_keys == {dg.AssetKey(["raw", "shop", "sale"])}
    assert (node.group_name, node.kinds) == ("share", {"view"})
    assert node.automation_condition == dg.AutomationCondition.eager()
    run_to_end(company, [SALE, VIEW], instance)
    assert [(row["sale_id"], row["tonnes_t"]) for row in rows(company)] == [(1, 1.5), (2, 1.5)]


def rows(company: Company) -> list[dict[str, object]]:
    return list(company.ingest.warehouse.read(TableName("share", "sale")).to_pylist())


def test_what_a_view_shows_is_told_with_its_columns_and_where_they_come_from(
    company: Company, instance: dg.DagsterInstance
) -> None:
    told = run_to_end(company, [SALE, VIEW], instance).metadata(VIEW)
    assert told["dagster/row_count"] == 2
    assert told["dagster/table_name"] == "share.sale"
    columns = {column.name: column for column in told["dagster/column_schema"].columns}
    assert list(columns) == ["sale_id", "tonnes_t", "sold_at"]
    assert (columns["tonnes_t"].type, columns["tonnes_t"].tags["unit"]) == ("double", "t")
    assert columns["tonnes_t"].description == "What was sold"
    deps = told["dagster/column_lineage"].deps_by_column
    assert [(dep.asset_key.path[-1], dep.column_name) for dep in deps["tonnes_t"]] == [
        ("sale", "weight_t")
    ]
    seen = {record.data["reader"]: record.data["rows"] for record in told["readers"].records}
    assert seen == {
        "planning": '"weight_t" > 0',
        "partner": '"weight_t" > 0 and "sale_id" <= 1',
    }


def test_a_reader_has_a_folder_with_his_rows_and_no_column_that_is_left_out(
    company: Company, instance: dg.DagsterInstance
) -> None:
    run_to_end(company, [SALE, VIEW], instance)
    folder = company.folder / "home" / "share"
    assert {path.name for path in folder.iterdir()} == {"planning", "partner"}
    found = pq.read_table(folder / "partner" / "sale.parquet")
    assert (found.column_names, found.num_rows) == (["sale_id", "tonnes_t", "sold_at"], 1)
    assert not [
        path for path in folder.rglob("*") if path.is_file() and b"ana" in path.read_bytes()
    ]


def test_a_masked_column_is_there_and_null(company: Company, instance: dg.DagsterInstance) -> None:
    columns = "columns: [sale_id, buyer]\n      masked: [pii.direct]"
    text = SHARE.replace("without: [pii.direct]", columns).replace("      renamed:", "      #")
    company.write("defs/share/defs.yaml", text)
    run_to_end(company, [SALE, VIEW], instance)
    assert rows(company)[0] == {"sale_id": 1, "buyer": None}


@pytest.mark.parametrize(
    ("right", "wrong", "at", "told"),
    [
        ("renamed: {tonnes_t: weight_t}", "renamed: {tonnes_t: wait_t}", "wait_t", "weight_t"),
        ("without: [pii.direct]", "columns: [sale_id, tonnes_t, byer]", "byer", "buyer"),
        ("raw/shop/sale", "raw/shop/sail", "sail", "raw/shop/sale"),
        ("reader: partner", "reader: partners", "partners", "partner"),
        ("rows: sale_id <= 1", "rows: sale_idd <= 1", "sale_idd", "sale_id"),
        ("rows: weight_t > 0", "rows: weight_t in (select 1)", "select 1", "Compare columns"),
        ("rows: weight_t > 0", "rows: read_text('x') = ''", "read_text", "Compare columns"),
        ("- reader: partner\n          rows: sale_id <= 1",
         "- {reader: planning, rows: sale_id <= 2}", "sale_id <= 2", "by `or`"),
        ("      without: [pii.direct]\n", "", "- name: sale", "List its columns"),
        ("without: [pii.direct]", "witout: [pii.direct]", "witout", "'without'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_what_was_meant(
    company: Company, right: str, wrong: str, at: str, told: str
) -> None:
    file = company.write("defs/share/defs.yaml", SHARE.replace(right, wrong))
    with pytest.raises(ConfigError) as caught:
        load_declared(company.declarations)
    (line,) = [n for n, text in enumerate(file.read_text().splitlines(), 1) if at in text]
    assert caught.value.object == f"{file}:{line}"
    assert told in caught.value.advice


def test_two_documents_do_not_say_differently_who_a_reader_is(company: Company) -> None:
    other = company.write("defs/more/defs.yaml", SHARE.replace("name: sale", "name: other"))
    with pytest.raises(ConfigError, match="declared twice") as caught:
        load_declared(company.declarations)
    assert caught.value.object == f"{other}:5"


@pytest.mark.parametrize(
    "member", ["allUsers", "allAuthenticatedUsers", "planning@acme.example", "group:a'b@c.d", ""]
)
def test_a_member_is_one_of_the_cloud_s_iam_and_never_everybody(
    company: Company, member: str
) -> None:
    company.write("defs/share/defs.yaml", SHARE.replace("group:planning@acme.example", member))
    with pytest.raises(ConfigError, match=r"readers\.planning\.0"):
        load_declared(company.declarations)


def test_columns_of_models_are_those_that_their_docs_name() -> None:
    known = promised_columns(DEFS)
    cycle = known[TableName("silver", "haul_cycle")]
    assert {"cycle_id", "payload_t", "pit"} <= cycle.keys()
    assert cycle["payload_t"].unit == "t"
    assert known[TableName("raw_lab", "rock_quality")]["logged_by"].classification == "pii.direct"
