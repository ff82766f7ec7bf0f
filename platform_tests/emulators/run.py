"""``python -m platform_tests.emulators.run COMMAND ...``: the command with Google's emulators.

Cloud Storage is our fake, BigQuery is bqemulator behind our proxy; both forget all at the end.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from platform_tests.dbt.adapter import DBT
from platform_tests.emulators import bigquery_proxy, gcs, parts
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
            parts.bigquery(root) as server,
            bigquery_proxy.proxied(server.url) as proxy,
        ):
            named = {
                "MALACATE_TARGET": "gcp-emulated",
                "GOOGLE_CLOUD_PROJECT": "acme",
                "STORAGE_EMULATOR_HOST": store,
                "BIGQUERY_EMULATOR_HOST": proxy.url,
                "MALACATE_DBT": str(DBT.path),
            }
            os.environ.update(named)
            storage.Client("acme", credentials=AnonymousCredentials()).create_bucket(BUCKET)
            return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
