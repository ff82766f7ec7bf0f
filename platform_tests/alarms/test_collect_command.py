"""``malacate collect`` on a stream that declares alarms: they are out before it is loaded."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import paho.mqtt.publish as mqtt
from paho.mqtt.client import MQTTv5
from platform_tests.alarms.hook import listening
from platform_tests.alarms.reading import SECOND, Reading
from platform_tests.company import Company, at_home
from platform_tests.emulators import parts
from platform_tests.orchestration.test_alarms import CONTRACT, LIMITS, STREAM
from platform_tests.streams.collecting import waited

from malacate.ledger import alarms

URL = "    - name: vibration\n      url: mqtt://${PIT_BROKER}/pit/+/vibration"
CODE = "from malacate.cli import main; main()"


def publish(port: int, reading: Reading) -> None:
    mqtt.single(
        "pit/north/vibration", reading.json(), 1, port=port, hostname="127.0.0.1", protocol=MQTTv5
    )


def test_an_exceedance_reaches_the_webhook_once_and_the_collector_ends_in_order(
    tmp_path: Path,
) -> None:
    company = Company(tmp_path)
    declared = STREAM.replace("    - name: vibration", URL)
    declared = declared.replace("source: pit", "source: pit\n  most_seconds: 0.5")
    company.write("defs/pit/defs.yaml", declared)
    company.write("defs/pit/contract.odcs.yaml", CONTRACT)
    company.write("limits.csv", LIMITS)
    with parts.mosquitto(tmp_path / "broker") as broker, listening() as hook:
        variables = {
            "PIT_BROKER": f"127.0.0.1:{broker.port}", "PIT_HOOK": hook.url,
            "PIT_DROPS": str(company.drops),
        }  # fmt: skip
        with at_home(company, **variables):
            command = [sys.executable, "-c", CODE, "collect", "pit"]
            process = subprocess.Popen(
                command, env={**os.environ}, stderr=subprocess.PIPE, text=True
            )
            try:

                def is_told() -> bool:
                    publish(broker.port, Reading("G1", 60 * SECOND, 9.0))
                    return bool(hook.came)

                assert waited(is_told)
                publish(broker.port, Reading("G1", 90 * SECOND, 9.0))
                process.send_signal(signal.SIGTERM)
                _, told = process.communicate(timeout=60)
            finally:
                process.kill()
            assert process.returncode == 0, told
            assert [body["subject"] for _, body, _ in hook.came] == ["G1"]
            assert told.count("ALARM") == 1
            assert "s3cret" not in told
            assert len(alarms.standing(company.ingest.ledger, "pit/vibration")) == 1
