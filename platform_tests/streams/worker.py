"""A collector in a process of its own, to be killed: ``worker.py URL NAME FOLDER BOUNDS``."""

import json
import signal
import sys
from pathlib import Path

from malacate.sources.streams.collector import Collector
from malacate.sources.streams.transport import Bounds, connect
from malacate.stores.folder import FolderStore


def main(url: str, name: str, folder: str, bounds: str) -> None:
    limits = Bounds(**json.loads(bounds))
    transport = connect(url, name, limits)
    collector = Collector(name, transport, FolderStore(Path(folder)), limits, "stream/")
    signal.signal(signal.SIGTERM, lambda *_: collector.end())
    print("started", flush=True)
    try:
        collector.run()
    finally:
        transport.close()
    print(collector.metrics.line())


if __name__ == "__main__":
    main(*sys.argv[1:])
