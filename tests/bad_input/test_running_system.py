"""Every class of bad input, thrown at running workers on a real Kafka: each lands where it belongs."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.commands import SynchronizationRequested
from schemas.dead_letters import DeadLetter
from schemas.event import MAX_RECORD_BYTES
from schemas.instances import Heartbeat, InstanceRegistered
from schemas.knowledge import KnowledgeAcknowledged
from schemas.reasons import Reason, RowReason
from schemas.reports import Admission, PatternReport
from schemas.signing import public_key
from schemas.topics import load
from tests.bad_input.classes import (
    ANY_JSON,
    MARK,
    OF_INSTANCES,
    RECORDS,
    REPORT_JSON,
    REQUESTS,
    ROWS,
    UNUSUAL,
    BadInput,
    of_json,
)
from tests.bad_input.drafts import DRAFTS, MALLORY, Draft
from tests.bad_input.system import Accounts, Ended, Place, System, running, send_compressed
from tests.deployments import Instance, key_of
from workers.fold import Record
from workers.letter_cap import LETTERS_A_MINUTE
from workers.version import code_version

FEDERATION = "bad-input"
PARTITIONS = {name: topic.partitions for name, topic in load().declared.items()}
REPORTS_A_MINUTE = 30
MEMORY_BYTES = 200 * 1024 * 1024

#: Who refuses what is on each topic.
STAGES = {
    PatternReport.topic: "privacy",
    InstanceRegistered.topic: "privacy",
    Heartbeat.topic: "health",
    SynchronizationRequested.topic: "collection",
    KnowledgeAcknowledged.topic: "distribution",
}

#: What is said of a revoked key. The phases hear of an instance's valid keys only.
REVOKED = {
    Heartbeat.topic: Reason.REVOKED_KEY,
    SynchronizationRequested.topic: Reason.UNKNOWN_KEY,
    KnowledgeAcknowledged.topic: Reason.UNKNOWN_KEY,
}

#: Bytes that a bomb grows to; snappy does not get more out of 1 MiB.
BOMBS = {"gzip": 100 << 20, "lz4": 100 << 20, "zstd": 200 << 20, "snappy": 18 << 20}


@dataclass(frozen=True)
class Case:
    """A class of bad input on a topic, and the instance that is there for it alone."""

    topic: str
    bad: BadInput
    instance: Instance

    def __str__(self) -> str:
        return f"{self.topic.split('.')[1]}: {self.bad.name}"


def classes(topic: str) -> Iterator[BadInput]:
    """Yield what can be wrong with the events of a topic."""
    yield from RECORDS
    yield from (of_json(*one) for one in ANY_JSON)
    if topic == PatternReport.topic:
        yield from (of_json(*one) for one in REPORT_JSON)
    if topic == SynchronizationRequested.topic:
        yield from REQUESTS
    elif topic != InstanceRegistered.topic:
        yield from OF_INSTANCES


def instance(name: str) -> Instance:
    return Instance(name, federation=FEDERATION, partitions=PARTITIONS)


CASES = [
    Case(topic, bad, instance(f"{topic.split('.')[1]}-{number}"))
    for topic in DRAFTS
    for number, bad in enumerate(classes(topic))
]


@dataclass
class Thrown:
    """What was sent and where it stands, and what became of it."""

    spoilt: dict[str, tuple[Record, Place]] = field(default_factory=dict)
    #: Of each instance the good report behind.
    good: dict[str, Place] = field(default_factory=dict)
    #: By the name of the test that looks at them.
    special: dict[str, list[Place]] = field(default_factory=dict)
    letters: Mapping[Place, list[tuple[DeadLetter, Record]]] = field(default_factory=dict)
    admissions: Mapping[Place, Admission] = field(default_factory=dict)
    commands: dict[str, Ended] = field(default_factory=dict)
    redriven: Sequence[str] = ()
    replayed: Ended | None = None
    accounts: Accounts | None = None
    sent: Counter[str] = field(default_factory=Counter)
    peak_bytes: int = 0

    def outcomes(self, name: str) -> list[str]:
        """Return what the admissions of special records say."""
        return [self.admissions[place].outcome for place in self.special[name]]

    def reasons(self, name: str) -> list[Reason]:
        """Return what the letters of special records say."""
        return [letter.reason for place in self.special[name] for letter, _ in self.letters[place]]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def throw(broker: str, directory: Path) -> Thrown:
    """Throw everything, and wait until all of it has been handled."""
    limits = {"FLC_MAX_REPORTS_A_MINUTE": str(REPORTS_A_MINUTE), "FLC_LOG_LEVEL": "debug"}
    async with running(broker, directory, FEDERATION, **limits) as system:
        thrown = Thrown()
        others = [instance(f"other-{number}") for number in range(len(PARTITIONS) * 2)]
        everybody = [*(case.instance for case in CASES), *others]
        at_ms = now_ms()
        registered = [one.registered(at_ms=at_ms) for one in everybody]
        await system.send([*registered, *(one.beat(at_ms) for one in everybody)])
        # An acknowledgement is judged by the keys that the health worker has told.
        await system.known(FEDERATION, [one.name for one in everybody])
        await _spoilt(system, thrown, at_ms)
        await _rows(system, thrown, at_ms)
        await _trust(system, thrown, at_ms)
        await _sizes(system, thrown, broker)
        await _flood(system, thrown)
        await _redriven(system, thrown)
        # The last word of everybody, wherever it was refused before
        last = [one.report(3, now_ms() + 1_000) for one in everybody]
        for one, place in zip(everybody, await system.send(last), strict=True):
            thrown.good[one.name] = place
        await system.until(lambda: set(thrown.good.values()) <= system.landed.admissions.keys())
        expected = [place for _, place in thrown.spoilt.values()]
        await system.until(lambda: all(place in system.landed.letters for place in expected))
        # A request whose key is not known has a while to become known.
        slow = thrown.special[f"revoked: {SynchronizationRequested.topic}"][0]
        await system.until(lambda: slow in system.landed.letters)
        await system.until(lambda: _all_was_read(system))
        thrown.letters, thrown.admissions = system.landed.letters, system.landed.admissions
        thrown.accounts, thrown.sent = system.accounts(), system.sent
        thrown.replayed = await system.command("replay", "--all", "--format", "json")
        thrown.peak_bytes = system.peak_bytes
        return thrown


async def _spoilt(system: System, thrown: Thrown, at_ms: int) -> None:
    records = [case.bad.spoil(DRAFTS[case.topic](case.instance, at_ms)) for case in CASES]
    for case, record, place in zip(CASES, records, await system.send(records), strict=True):
        thrown.spoilt[str(case)] = record, place


async def _rows(system: System, thrown: Thrown, at_ms: int) -> None:
    named: dict[str, Callable[[Draft], Record]] = dict(UNUSUAL)
    for bad in ROWS:
        row = bad.row
        named[bad.name] = lambda draft, row=row: draft.record(  # type: ignore[misc]
            orjson.dumps(Instance(draft.instance, federation=FEDERATION).document([{}, row], draft.at_ms))
        )
    reporters = [instance(f"rows-{number}") for number in range(len(named))]
    await system.send([one.registered(at_ms=at_ms) for one in reporters])
    drafts = [DRAFTS[PatternReport.topic](one, at_ms) for one in reporters]
    records = [make(draft) for make, draft in zip(named.values(), drafts, strict=True)]
    for name, place in zip(named, await system.send(records), strict=True):
        thrown.special[name] = [place]


async def _trust(system: System, thrown: Thrown, at_ms: int) -> None:
    """Send what depends on what was sent before."""

    async def send(name: str, *records: Record) -> None:
        thrown.special[name] = await system.send(records)

    alpha, old, ended = instance("alpha"), key_of("old"), key_of("ended")
    keys = [
        {"key": alpha.public_key},
        {"key": public_key(old), "revoked": True},
        {"key": public_key(ended), "not_after_ms": at_ms - 1},
    ]
    await system.send([alpha.registered(public_keys=keys, at_ms=at_ms)])
    first, second = alpha.report(1, at_ms), alpha.report(1, at_ms + 1)
    await send("replayed", first, second, first, second)
    report = orjson.dumps(alpha.document(1, at_ms + 2))
    await send("revoked", alpha.raw(report, by=old))
    gamma = instance("gamma")
    await system.send([gamma.registered(at_ms=at_ms)])
    await system.known(FEDERATION, [alpha.name, gamma.name])
    for topic, draft in DRAFTS.items():
        if topic in REVOKED:
            of: dict[str, Any] = (
                {"requested_by": alpha.name} if topic == SynchronizationRequested.topic else {}
            )
            await send(f"revoked: {topic}", draft(alpha, at_ms + 2).record(by=old, **of))
        again = draft(gamma, at_ms).record()
        await send(f"again: {topic}", again, again)
    await send("ended", alpha.raw(report, by=ended))
    await send("unknown", instance("nobody").report(1, at_ms))
    theirs = instance("alpha").registered(2, by=MALLORY, public_keys=[{"key": public_key(MALLORY)}])
    await send("taken over", theirs, alpha.raw(report, by=MALLORY))
    fast = instance("fast")
    await system.send([fast.registered(at_ms=at_ms)])
    # In two minutes at the most: one of them has too many.
    await send("too fast", *(fast.report(1, at_ms + n) for n in range(2 * REPORTS_A_MINUTE + 1)))


async def _sizes(system: System, thrown: Thrown, broker: str) -> None:
    beta = instance("beta")
    await system.send([beta.registered()])
    report = beta.report(1, now_ms())
    for codec, size in BOMBS.items():
        thrown.special[codec] = [await send_compressed(broker, codec, report, bytes(size))]
    large = b" " * MAX_RECORD_BYTES + b"{}"
    thrown.special["too large"] = [await send_compressed(broker, "gzip", report, large)]


async def _flood(system: System, thrown: Thrown) -> None:
    flood = [instance("stranger").beat(now_ms()) for _ in range(3 * LETTERS_A_MINUTE)]
    thrown.special["flood"] = await system.send(flood)


async def _redriven(system: System, thrown: Thrown) -> None:
    """Find and send again the report of somebody who is known by now, as an operator does."""
    nobody = instance("nobody")
    ((topic, partition, offset),) = thrown.special["unknown"]
    source = f"{topic}/{partition}/{offset}"
    await system.until(lambda: thrown.special["unknown"][0] in system.landed.letters)
    await system.send([nobody.registered(at_ms=now_ms())])
    of = ("--topic", topic, "--reason", "unknown_instance", "--since", "1h")
    for name, arguments in {
        "list": ("list", *of, "--format", "json"),
        "show": ("show", source, "--format", "json"),
        "dry run": ("redrive", source, "--dry-run"),
        "unconfirmed": ("redrive", source),
        "redrive": ("redrive", source, "--yes"),
        "again": ("redrive", source, "--yes", "--format", "json"),
    }.items():
        thrown.commands[name] = await system.command("dead-letters", *arguments)
    await system.until(lambda: len(_outcomes_of(system, nobody)) > 1)
    thrown.redriven = _outcomes_of(system, nobody)


def _outcomes_of(system: System, one: Instance) -> list[str]:
    return [
        admission.outcome
        for admission in system.landed.admissions.values()
        if admission.instance_id == one.name
    ]


def _all_was_read(system: System) -> bool:
    read = system.accounts().read
    return all(read[STAGES[topic], topic] >= count for topic, count in system.sent.items())


@pytest.fixture(scope="module")
def thrown(quiet_broker: str, tmp_path_factory: pytest.TempPathFactory) -> Thrown:
    return asyncio.run(throw(quiet_broker, tmp_path_factory.mktemp("bad-input")))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_refused_has_one_dead_letter_that_says_where_and_why(thrown: Thrown, case: Case) -> None:
    record, (topic, partition, offset) = thrown.spoilt[str(case)]
    ((letter, written),) = thrown.letters[topic, partition, offset]
    said = letter.model_dump()
    assert said.pop("federation") in {FEDERATION, None}
    assert len(said.pop("digest")) == 32
    assert said.pop("append_ms") > 0
    # Nothing of what was sent: every field is known here.
    assert said == {
        "reason": case.bad.reason,
        "stage": STAGES[topic],
        "source_topic": topic,
        "source_partition": partition,
        "source_offset": offset,
        "last_offset": offset,
        "count": 1,
        "length": len(record.value or b""),
        "version": code_version(),
        "redriven_from": None,
        "redrives": 0,
    }
    everything = [written.key or b"", written.value or b"", *(content for _, content in written.headers)]
    assert all(MARK.encode() not in part.lower() for part in everything)


@pytest.mark.parametrize("case", [case for case in CASES if case.topic == PatternReport.topic], ids=str)
def test_a_refused_report_is_answered_if_its_sender_is_known(thrown: Thrown, case: Case) -> None:
    _, place = thrown.spoilt[str(case)]
    admission = thrown.admissions.get(place)
    if case.bad.authenticated:
        assert admission is not None
        assert admission.outcome == f"refused:{case.bad.reason}"
        assert (admission.received, admission.accepted, admission.rejected) == (0, 0, {})
    else:
        assert admission is None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_good_report_afterwards_is_admitted(thrown: Thrown, case: Case) -> None:
    admission = thrown.admissions[thrown.good[case.instance.name]]
    assert (admission.outcome, admission.accepted) == ("admitted", 3)


@pytest.mark.parametrize("bad", ROWS, ids=lambda bad: bad.name)
def test_a_bad_row_is_counted_and_costs_no_other(thrown: Thrown, bad: Any) -> None:
    (place,) = thrown.special[bad.name]
    admission = thrown.admissions[place]
    expected: dict[RowReason, int] = {} if bad.reason is None else {bad.reason: 1}
    assert (admission.outcome, admission.received, admission.rejected) == ("admitted", 2, expected)
    assert admission.accepted == 2 - len(expected)
    assert place not in thrown.letters


@pytest.mark.parametrize("name", [name for name, _ in UNUSUAL])
def test_what_is_only_unusual_is_admitted(thrown: Thrown, name: str) -> None:
    assert thrown.outcomes(name) == ["admitted"]


def test_what_comes_again_changes_nothing(thrown: Thrown) -> None:
    assert thrown.outcomes("replayed") == ["admitted", "admitted", "stale", "duplicate"]
    assert thrown.reasons("replayed") == []


@pytest.mark.parametrize("topic", DRAFTS)
def test_what_was_good_gets_no_letter_when_it_comes_again(thrown: Thrown, topic: str) -> None:
    assert thrown.reasons(f"again: {topic}") == []


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("revoked", [Reason.REVOKED_KEY]),
        *((f"revoked: {topic}", [reason]) for topic, reason in REVOKED.items()),
        ("ended", [Reason.KEY_NOT_VALID]),
        ("unknown", [Reason.UNKNOWN_INSTANCE]),
        ("taken over", [Reason.UNKNOWN_KEY, Reason.UNKNOWN_KEY]),
        ("too large", [Reason.TOO_LARGE]),
        *((codec, [Reason.CORRUPT_BATCH]) for codec in BOMBS),
    ],
)
def test_who_does_not_belong_here_stays_out(thrown: Thrown, name: str, reasons: list[Reason]) -> None:
    assert thrown.reasons(name) == reasons
    assert not any(place in thrown.admissions for place in thrown.special[name])


def test_a_refused_report_that_is_acceptable_by_now_is_found_shown_and_redriven(thrown: Thrown) -> None:
    ((topic, partition, offset),) = thrown.special["unknown"]
    source, ended = f"{topic}/{partition}/{offset}", thrown.commands
    assert source in [orjson.loads(line)["source"] for line in ended["list"].out.splitlines()]
    shown = orjson.loads(ended["show"].out)
    assert (shown["reason"], shown["redrive"], shown["why"]) == ("unknown_instance", 1, None)
    for name, code in {"dry run": 0, "unconfirmed": 2, "redrive": 0, "again": 0}.items():
        assert (name, ended[name].code) == (name, code)
        assert "Plan: 1 to redrive, 0 to skip." in ended[name].errors
    assert "1 sent again." in ended["redrive"].errors
    assert thrown.redriven == ["admitted", "duplicate"]


def test_an_instance_that_reports_too_often_is_braked(thrown: Thrown) -> None:
    outcomes = Counter(thrown.outcomes("too fast"))
    assert set(outcomes) == {"admitted", "refused:rate_limited"}
    assert REPORTS_A_MINUTE <= outcomes["admitted"] <= 2 * REPORTS_A_MINUTE
    assert thrown.reasons("too fast") == [Reason.RATE_LIMITED] * outcomes["refused:rate_limited"]


def test_a_flood_makes_no_flood_of_letters(thrown: Thrown) -> None:
    letters = [letter for place in thrown.special["flood"] for letter, _ in thrown.letters.get(place, [])]
    # Two minutes, if the flood met the turn of one
    assert len(letters) <= 2 * (LETTERS_A_MINUTE + 1)
    assert {letter.reason for letter in letters} == {Reason.UNKNOWN_INSTANCE}


def test_everything_that_was_read_was_handled_once(thrown: Thrown) -> None:
    accounts = thrown.accounts
    assert accounts is not None
    assert accounts.read == accounts.handled
    assert all(accounts.read[STAGES[topic], topic] >= count for topic, count in thrown.sent.items())
    # The health worker reads registrations, too, but writes no second letter, and has those of the flood to
    # write when its minute is over.
    for worker in ("privacy", "collection", "distribution"):
        assert accounts.refused[worker] == accounts.lettered[worker]
    assert accounts.refused["health"] > accounts.lettered["health"]


def test_an_independent_replay_of_the_log_comes_to_the_same(thrown: Thrown) -> None:
    assert thrown.replayed is not None
    assert thrown.replayed.code == 0, thrown.replayed.out
    verdicts = {one["subject"]: one for one in map(orjson.loads, thrown.replayed.out.splitlines())}
    for subject in ("reports and admissions", "contributions", "dead letters", "health"):
        assert (subject, verdicts[subject]["verdict"]) == (subject, "equal")
    assert verdicts["dead letters"]["compared"] > len(CASES)


def test_the_workers_stayed_small(thrown: Thrown) -> None:
    assert thrown.peak_bytes < MEMORY_BYTES
