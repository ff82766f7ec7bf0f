"""A mistake in a declaration is answered with its file, its line, and what was meant."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from platform_tests.company import CONTRACT, SHOP, Company, opened_shop, run_to_end, sale, sales

from malacate.components.declared import load_declared, raw_assets
from malacate.errors import ConfigError
from malacate.orchestration.target import chosen


@pytest.fixture(scope="module")
def company() -> Iterator[Company]:
    with opened_shop() as made:
        yield made


@pytest.fixture
def shop(company: Company) -> Iterator[Company]:
    """The company of this module; what a test writes into it is undone."""
    files = {path: path.read_text() for path in company.package.rglob("*.yaml")}
    yield company
    for path in company.package.rglob("*.yaml"):
        path.unlink()
    for path, text in files.items():
        path.write_text(text)


def mistake(shop: Company) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        raw_assets(shop.declarations)
    return caught.value


def placed(path: Path, text: str) -> str:
    """``path:line`` of the only line that holds ``text``."""
    (number,) = [n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line]
    return f"{path}:{number}"


@pytest.mark.parametrize(
    ("right", "wrong", "told", "advice"),
    [
        ("  tables:", "  tabel:", "unknown key 'tabel'", "'tables'"),
        ("attributes:", "atributes:", "unknown key 'atributes'", "'attributes'"),
        ("{name: csv}\n    - name: refund", "{name: csv}\n      filez: []\n    - name: refund",
         "unknown key 'filez'", "'files'"),
        ("  source: shop", "  source: shop\n  zzz: red", "unknown key 'zzz'",
         "['folder', 'interval_seconds', 'notices', 'source', 'tables']"),
        ("{name: csv}", "{name: csv, delimeter: x}", "unknown key 'delimeter'", "'delimiter'"),
        ("components.FileDrops", "components.FileDorps",
         "unknown key 'malacate.components.FileDorps'", "'malacate.components.FileDrops'"),
    ],
    ids=["typo", "top", "nested", "unknown", "format", "type"],
)  # fmt: skip
def test_an_unknown_word_is_told_with_the_nearest_one(
    shop: Company, right: str, wrong: str, told: str, advice: str
) -> None:
    file = shop.write("defs/shop/defs.yaml", SHOP.replace(right, wrong, 1))
    error = mistake(shop)
    assert error.reason == "unknown_key"
    assert told in error.what
    assert advice in error.advice
    word = told.split("'")[1]
    assert error.object == placed(file, word)


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ('["sales/*.csv"]', "sales", "tables.0.files"),
        ("source: shop", "source: [shop]", "source"),
        ("source: shop", "source: no", "source"),
        ("source: shop", "source: 1.5", "source"),
        ("{name: csv}", "{name: xml}", "tables.0.format.name"),
        ("{name: csv}", "{name: csv, delimiter: 5}", "tables.0.format.delimiter"),
        ("folder: ${SHOP_DROPS}", "folder: ${SHOP_DROPS}\n  interval_seconds: soon",
         "interval_seconds"),
        ("{name: csv}\n    - name: refund", "csv\n    - name: refund", "tables.0.format"),
    ],
    ids=["text for list", "list for text", "boolean", "number", "unknown format",
         "number for a sign", "text for number", "format"],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_told_with_its_place(
    shop: Company, right: str, wrong: str, told: str
) -> None:
    file = shop.write("defs/shop/defs.yaml", SHOP.replace(right, wrong, 1))
    error = mistake(shop)
    where, _, line = error.object.rpartition(":")
    last = told.rpartition(".")[2]
    assert told in error.what
    assert where == str(file)
    assert last in file.read_text().splitlines()[int(line) - 1]


@pytest.mark.parametrize("attributes", ["", "attributes: [1]", "attributes: {source: shop}"])
def test_attributes_that_are_missing_are_told(shop: Company, attributes: str) -> None:
    file = shop.write("defs/shop/defs.yaml", f"type: malacate.components.FileDrops\n{attributes}\n")
    assert mistake(shop).object.startswith(f"{file}:")


def test_a_key_that_stands_twice_is_refused(shop: Company) -> None:
    text = SHOP.replace("  source: shop", "  source: shop\n  source: store")
    file = shop.write("defs/shop/defs.yaml", text)
    error = mistake(shop)
    assert (error.reason, error.object) == ("duplicate_key", placed(file, "source: store"))
    assert "'source' stands twice" in error.what


def test_a_tab_is_told_with_its_line(shop: Company) -> None:
    file = shop.write("defs/shop/defs.yaml", SHOP.replace("  folder", "\tfolder"))
    error = mistake(shop)
    assert (error.reason, error.object) == ("bad_yaml", placed(file, "\tfolder"))
    assert "never tabs" in error.advice


def test_two_declarations_of_one_table_name_both_files(shop: Company) -> None:
    second = shop.write("defs/store/defs.yaml", SHOP)
    shop.write("defs/store/contract.odcs.yaml", CONTRACT)
    error = mistake(shop)
    assert error.reason == "two_sources"
    assert "raw/shop/sale is declared twice" in error.what
    assert str(shop.declarations / "shop/defs.yaml") in error.what
    assert error.object.startswith(str(second))


def test_two_sources_that_share_a_place_of_drops_are_told_with_the_line(shop: Company) -> None:
    first = shop.declarations / "shop/defs.yaml"
    other = shop.declarations / "zoo/defs.yaml"
    other.parent.mkdir()
    other.write_text(first.read_text().replace("source: shop", "source: zoo"))
    contract = first.with_name("contract.odcs.yaml")
    other.with_name("contract.odcs.yaml").write_text(contract.read_text())
    place = placed(other, "folder:")
    try:
        error = mistake(shop)
    finally:
        shutil.rmtree(other.parent)
    assert (error.reason, error.object) == ("shared_place", place)
    assert "those of shop" in str(error)


def test_a_table_that_stands_twice_in_one_declaration_is_refused(shop: Company) -> None:
    shop.write("defs/shop/defs.yaml", SHOP.replace("name: refund", "name: sale"))
    assert mistake(shop).reason == "two_sources"


def test_several_documents_in_one_file_are_all_read(shop: Company) -> None:
    shop.write("defs/shop/defs.yaml", f"{SHOP}\n---\n{SHOP}")
    assert mistake(shop).reason == "two_sources"


def test_a_table_without_a_contract_is_told_with_those_there_are(shop: Company) -> None:
    shop.write("defs/shop/defs.yaml", SHOP.replace("name: refund", "name: returns"))
    error = mistake(shop)
    assert (error.reason, error.source) == ("no_contract", "shop")
    assert "'returns'" in error.what
    assert "['refund', 'sale']" in error.advice


def test_a_source_without_a_contract_file_is_told_where_to_put_it(shop: Company) -> None:
    (shop.declarations / "shop/contract.odcs.yaml").unlink()
    assert mistake(shop).object.endswith("defs/shop/contract.odcs.yaml")


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("name: weight_t", "name: weight-t", "weight_t"),
        ("name: refund", "name: Refund", "refund"),
        ("physicalType: double", "physicalType: duoble", "double"),
        ("required: true,", "requird: true,", "required"),
        ("property: unit", "property: unti", "unit"),
    ],
)
def test_a_mistake_in_a_contract_is_told_with_file_line_and_what_is_right(
    shop: Company, right: str, wrong: str, told: str
) -> None:
    file = shop.write("defs/shop/contract.odcs.yaml", CONTRACT.replace(right, wrong, 1))
    error = mistake(shop)
    where, _, line = error.object.rpartition(":")
    lines = file.read_text().splitlines()
    assert where == str(file)
    assert wrong.rstrip(",") in "\n".join(lines[int(line) - 1 : int(line) + 4])
    assert told in error.advice


@pytest.mark.parametrize("source", ["Shop", "a b", "1shop", "x" * 64, "shop;drop", "tienda_ñ"])
def test_an_illegal_source_is_refused_with_a_legal_one(shop: Company, source: str) -> None:
    shop.write("defs/shop/defs.yaml", SHOP.replace("source: shop", f"source: {source!r}"))
    error = mistake(shop)
    assert error.reason == "illegal_name"
    assert error.object == placed(shop.declarations / "shop/defs.yaml", "attributes:")
    assert "lower-case letters" in error.advice


def test_signs_that_cannot_be_told_apart_are_refused_with_the_place(shop: Company) -> None:
    text = SHOP.replace("{name: csv}", "{name: csv, delimiter: ';;'}", 1)
    file = shop.write("defs/shop/defs.yaml", text)
    error = mistake(shop)
    assert (error.reason, error.object) == ("bad_format", placed(file, "attributes:"))


@pytest.mark.parametrize(
    "url",
    ["postgresql://ana:secret@db/shop", "postgresql://:secret@db", "postgresql://${USER}:x@db"],
)
def test_a_password_in_a_file_is_refused_and_not_repeated(shop: Company, url: str) -> None:
    text = f"""
    type: malacate.components.DatabaseTables
    attributes:
      source: shop
      url: {url}
      tables: [{{name: sale}}]
    """
    shop.write("defs/shop/defs.yaml", text)
    error = mistake(shop)
    assert error.reason == "inline_secret"
    assert "${NAME}" in error.advice
    assert "secret@" not in str(error)


@pytest.mark.parametrize("wrong", ["notices: sq:https://queue", "interval_seconds: soon"])
def test_a_value_that_cannot_be_is_refused_with_its_line(shop: Company, wrong: str) -> None:
    path = shop.declarations / "shop/defs.yaml"
    path.write_text(path.read_text().replace("  source: shop", f"  source: shop\n  {wrong}"))
    assert mistake(shop).object == placed(path, wrong)


def test_without_a_pattern_every_file_would_be_meant_so_it_is_refused(shop: Company) -> None:
    path = shop.declarations / "shop/defs.yaml"
    text = path.read_text()
    line = next(line for line in text.splitlines() if "files:" in line)
    path.write_text(text.replace(line, f"{line.partition('files:')[0]}files: []", 1))
    assert "files" in str(mistake(shop))


@pytest.mark.parametrize("cron", ["soon", "* * *", "99 * * * *"])
def test_a_cron_that_is_none_is_refused_with_the_place(shop: Company, cron: str) -> None:
    text = f"""
    type: malacate.components.DatabaseTables
    attributes:
      source: shop
      url: ${{SHOP_URL}}
      cron: "{cron}"
      tables: [{{name: sale}}]
    """
    file = shop.write("defs/shop/defs.yaml", text)
    error = mistake(shop)
    assert (error.reason, error.object) == ("bad_cron", placed(file, "attributes:"))
    assert "*/15 * * * *" in error.advice


def test_a_cursor_that_is_no_column_is_refused(shop: Company) -> None:
    text = """
    type: malacate.components.DatabaseTables
    attributes:
      source: shop
      url: ${SHOP_URL}
      tables:
        - {name: sale, cursor: {column: changed_at}}
    """
    shop.write("defs/shop/defs.yaml", text)
    error = mistake(shop)
    assert error.reason == "no_key"
    assert "changed_at" in error.advice


def test_changes_of_a_table_without_a_key_are_refused(shop: Company) -> None:
    text = """
    type: malacate.components.ChangeFiles
    attributes:
      source: shop
      folder: ${SHOP_DROPS}
      tables: [{name: sale, files: ["*.avro"]}]
    """
    shop.write("defs/shop/defs.yaml", text)
    without = CONTRACT.replace("primaryKey: true,", "required: true,")
    shop.write("defs/shop/contract.odcs.yaml", without)
    assert mistake(shop).reason == "no_key"


def test_an_unknown_target_is_told_with_those_there_are(
    shop: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALACATE_TARGET", "production")
    with pytest.raises(ConfigError, match=r"no target 'production'.*one of local") as caught:
        chosen(shop.package / "targets.yaml")
    assert caught.value.object == str(shop.package / "targets.yaml")


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("local: {lake: x, warehouse: y, leger: z}", "unknown_key", 1),
        ("local:\n  lake: x\n  warehouse: y", "bad_yaml", 1),
    ],
)
def test_a_target_that_is_not_whole_is_told_with_its_line(
    shop: Company, text: str, reason: str, line: int
) -> None:
    file = shop.write("targets.yaml", text)
    with pytest.raises(ConfigError) as caught:
        chosen(file)
    assert (caught.value.reason, caught.value.object) == (reason, f"{file}:{line}")


def test_a_warehouse_that_nobody_speaks_is_told(shop: Company) -> None:
    file = shop.write("targets.yaml", "local: {lake: x, warehouse: 'oracle://x', ledger: z}")
    with pytest.raises(ConfigError, match="duckdb:///path"):
        chosen(file).open_warehouse()


def test_a_secret_in_a_target_is_refused(shop: Company) -> None:
    url = "postgresql+psycopg://ana:secret@db/ledger"
    file = shop.write(
        "targets.yaml", f"local: {{lake: x, warehouse: 'duckdb://x', ledger: '{url}'}}"
    )
    with pytest.raises(ConfigError, match="secret is written into a file"):
        chosen(file)


def test_a_missing_variable_is_named_by_the_run_and_the_other_assets_still_load() -> None:
    with opened_shop() as shop, dg.DagsterInstance.ephemeral() as instance:
        other = SHOP.replace("source: shop", "source: store").replace("SHOP_", "STORE_")
        shop.write("defs/store/defs.yaml", other)
        shop.write("defs/store/contract.odcs.yaml", CONTRACT)
        shop.drop("sales/1.csv", sales(sale(1)))
        run_to_end(shop, ["raw/shop/sale"], instance)
        ran = shop.materialize(instance, "raw/store/sale")
        assert not ran.is_success
        assert "the variable STORE_DROPS is not set" in ran.error()
        assert "Export STORE_DROPS" in ran.error()


def test_the_graph_has_every_declaration_that_the_commands_have(shop: Company) -> None:
    for place in ("area/deep/store", "here.and.now/market"):
        name = place.rpartition("/")[2]
        own = SHOP.replace("source: shop", f"source: {name}").replace("_DROPS}", f"_DROPS}}/{name}")
        shop.write(f"defs/{place}/defs.yaml", own)
        shop.write(f"defs/{place}/contract.odcs.yaml", CONTRACT)
    declared = {raw.key for raw in raw_assets(shop.declarations)}
    graph = load_declared(shop.declarations).resolve_asset_graph()
    assert len(declared) == 6
    assert declared <= graph.get_all_asset_keys()


def test_a_folder_of_declarations_may_say_what_holds_for_all_below_it(shop: Company) -> None:
    text = """
    type: dagster.DefsFolderComponent
    post_processing:
      assets:
        - {target: "key:raw/shop/sale", attributes: {tags: {tier: "1"}}}
    """
    shop.write("defs/defs.yaml", text)
    graph = load_declared(shop.declarations).resolve_asset_graph()
    assert graph.get(dg.AssetKey(["raw", "shop", "sale"])).tags["tier"] == "1"
    assert dg.AssetKey(["silver", "sale"]) in graph.get_all_asset_keys()
