"""A company that collects the mine's phones, and what of their issues it must have and tell."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from platform_tests.company import Company, at_home, run_to_end
from platform_tests.faults.verdict import Verdict

from acme.definitions import DEFS
from acme.simulator import phones
from acme.simulator.stream_phones import FILTER, LivePhones
from acme.simulator.world import World
from malacate.ledger import alarms, outbox

WORLD, HOUR = World(7), 5
NAME, RAW, OPS = "mobile/issue_event", "raw/mobile/issue_event", "ops/alarms"
TRUTH = "home/mine/truth/stream/machine_issue.json"
"""Where ``malacate simulate stream`` notes it, below the company's folder."""

ALARMS = """
from pathlib import Path

import dagster as dg

from malacate.components.alarm_rules import watches
from malacate.orchestration.alarms import alarm_assets


@dg.definitions
def defs():
    return alarm_assets(lambda: watches(Path(__file__).parent), ["raw/mobile/issue_event"])
"""
_TOLD = re.compile(r"ALARM ([0-9a-f]+) [^:]+: machine_issue ([0-9a-f-]{36}), .*")

Row = dict[str, Any]


@contextmanager
def mobile(folder: Path, port: int) -> Iterator[Company]:
    """It, at home in ``folder``, with its broker on loopback."""
    company = Company(folder.resolve())
    company.write("defs/mobile/defs.yaml", _declared())
    company.write("defs/mobile/contract.odcs.yaml", _contract())
    company.write("defs/alarms.py", ALARMS)
    (company.drops / "mobile").mkdir()
    with at_home(company, ACME_DROPS=str(company.drops), MOBILE_BROKER=f"127.0.0.1:{port}"):
        yield company


def _declared() -> str:
    """The mine's, with a broker; what waits for some seconds here waits for days there."""
    declared: Row = yaml.safe_load((DEFS / "mobile" / "defs.yaml").read_text())
    declared["attributes"] |= {"most_messages": 40, "most_seconds": 0.2}
    (table,) = declared["attributes"]["tables"]
    table["url"] = "mqtt://${MOBILE_BROKER}/mine/" + FILTER
    table["alarms"]["tell_within_hours"] = 10_000
    return yaml.safe_dump(declared)


def _contract() -> str:
    """The mine's, where a key of the message says when the gateway had it."""
    contract: Row = yaml.safe_load((DEFS / "mobile" / "contract.odcs.yaml").read_text())
    columns = {one["name"]: one for one in contract["schema"][0]["properties"]}
    del columns["received_at"]["physicalName"]
    return yaml.safe_dump(contract)


def severe_of(live: LivePhones) -> set[str]:
    """The issues that somebody has to be told of."""
    events = (one.event for one in live.received())
    return {one["issue_id"] for one in events if one["severity"] in ("critical", "high")}


def judge(company: Company, live: LivePhones, log: str) -> Verdict:
    """The raw table, incidents and alarms against what was sent; loaded, and judged again."""
    verdict = Verdict()
    with dg.DagsterInstance.ephemeral() as instance:
        ran = run_to_end(company, [RAW, OPS], instance)
    opened = ran.metadata(OPS)["incidents_opened"]
    if ran.failed() - {"key_is_unique"} or opened:
        verdict.problems.append(f"checks failed: {ran.failed()}; {opened} incidents at loading")
    _compare(verdict, company, live)
    _compare_alarms(verdict, company, severe_of(live), log)
    if verdict.lost or verdict.twice or verdict.wrong:
        what = f"lost {verdict.lost}, twice {verdict.twice}, wrong {verdict.wrong}"
        verdict.problems.insert(0, what)
    return verdict


def _compare(verdict: Verdict, company: Company, live: LivePhones) -> None:
    """Each message is there, as it was told, and no other; they make the same issues."""
    raw = company.rows("raw_mobile.issue_event", "event_id, received_at, message")
    found = Counter((row["event_id"], round(row["received_at"].timestamp() * 1e6)) for row in raw)
    sent = {(one.event["event_id"], one.received_us) for one in live.received()}
    verdict.lost += len(sent - found.keys())
    verdict.wrong += len(found.keys() - sent)
    verdict.wrong += len(company.rows("malacate.quarantine", "reason"))
    verdict.hits["copies"] = found.total() - len(found)
    known = json.loads((company.folder / TRUTH).read_text())
    once = (len(found), len({row["event_id"] for row in raw}))
    if once != (known["messages"], known["events"]):
        verdict.problems.append(f"{once} messages and events are there, others were sent")
    if phones.become(json.loads(row["message"]) for row in raw) != known["issues"]:
        verdict.problems.append("other issues come of the rows than came of the phones")


def _compare_alarms(verdict: Verdict, company: Company, severe: set[str], log: str) -> None:
    """Of each severe issue one incident, told once; again under its key by who followed a dead."""
    incidents = Counter(row["subject"] for row in alarms.standing(company.ingest.ledger, NAME))
    lines = Counter(one.groups() for one in _TOLD.finditer(log))
    for found in (incidents, Counter(subject for _, subject in lines)):
        verdict.lost += len(severe - found.keys())
        verdict.wrong += len(found.keys() - severe)
        verdict.twice += found.total() - len(found)
    verdict.twice += len(lines) - len({key for key, _ in lines})
    states = {row["state"] for row in outbox.states(company.ingest.ledger)}
    if states != {"sent"}:
        verdict.problems.append(f"alarms are {states}")
    verdict.hits |= {"incidents": len(incidents), "again": lines.total() - len(lines)}
