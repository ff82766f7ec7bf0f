"""A collector with alarms in a process of its own: ``worker.py URL FOLDER LEDGER WEBHOOK``."""

import os
import signal
import sys
from pathlib import Path

from platform_tests.alarms.reading import watch

from malacate.alarms.collected import Pass
from malacate.alarms.sender import Sender
from malacate.formats import FileFormat
from malacate.ledger.ledger import Ledger
from malacate.orchestration.environment import resolve
from malacate.sources.streams.collector import Collector
from malacate.sources.streams.transport import Bounds, connect
from malacate.stores.folder import FolderStore

BOUNDS = Bounds(messages=500, seconds=0.5)
HOOK = "${PIT_HOOK}"


def main(url: str, folder: str, ledger: str, webhook: str) -> None:
    os.environ["PIT_HOOK"] = webhook
    watched = watch(channels=(HOOK,))
    transport = connect(url, "alarms", BOUNDS)
    sender = Sender(lambda: Ledger(ledger), watched.channels, resolve, lease_seconds=1.0)
    judged = Pass(watched, FileFormat("messages"), lambda: Ledger(ledger), sender.wake)
    collector = Collector(
        "pit/vibration", transport, FolderStore(Path(folder)), BOUNDS, "vibration/", judged
    )
    signal.signal(signal.SIGTERM, lambda *_: collector.end())
    print("started", flush=True)
    with sender.running():
        collector.run()
    transport.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
