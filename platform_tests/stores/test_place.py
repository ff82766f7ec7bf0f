import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from malacate.errors import ConfigError
from malacate.stores.place import Clients, store_at


def client(*_: object) -> Any:
    class Client:
        account_name = "account"
        container_name = "drops"

        def get_container_client(self, _: str) -> "Client":
            return self

    return Client()


CLIENTS = Clients(client, client, client)


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("s3://drops", "s3://drops"),
        ("s3://drops/a#b?c/", "s3://drops/a#b?c"),
        ("gs://drops/day/1", "gs://drops/day/1"),
        ("az://drops/x", "abfss://drops@account/x"),
        ("abfss://drops@account.dfs.core.windows.net/x/", "abfss://drops@account/x"),
        ("/srv/drops", "/srv/drops"),
        ("file:///srv/with%20space", "/srv/with space"),
    ],
)
def test_a_url_says_which_store_stands_there(url: str, uri: str) -> None:
    assert store_at(url, CLIENTS).uri == uri


@pytest.mark.parametrize("url", ["ftp://x/y", "s3://", "gs:///x", "http://drops"])
def test_a_url_that_means_nothing_is_told_when_the_store_is_used(url: str) -> None:
    store = store_at(url, CLIENTS)
    with pytest.raises(ConfigError, match="Give a folder") as caught:
        list(store.list())
    assert caught.value.object == url


def test_references_are_resolved_when_they_are_needed(tmp_path: Path) -> None:
    asked: list[str] = []

    def resolve(text: str) -> str:
        asked.append(text)
        return str(tmp_path)

    store = store_at("${DROPS}", CLIENTS, resolve)
    assert asked == []
    assert list(store.list()) == []
    assert asked == ["${DROPS}"]


def test_no_client_is_loaded_before_a_bucket_is_used() -> None:
    code = (
        "import sys; from malacate.orchestration.stores import store; store('s3://drops/x');"
        "store('gs://drops'); store('az://drops');"
        "print([m for m in ('boto3', 'botocore', 'google.cloud', 'azure') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
