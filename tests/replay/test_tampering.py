"""Whatever number somebody changes in whatever event: the replay names the event first."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import orjson
import pytest

from convergence.replay.findings import Finding, Verdict
from convergence.replay.log import event_type
from convergence.replay.replay import replay
from schemas.catalogue import EVENTS
from tests.replay.world import RULES, World, log_of
from workers.fold import Record

#: What is decided and cannot be computed: instants and their order, who lived, what was configured.
GIVEN = {
    "InstanceHealth": {"last_seen_ms", "skew_ms", "not_before_ms", "not_after_ms", "reliability"},
    "SynchronizationAnnounced": {"deadline_ms", "timestamp"},
    "KnowledgeAnnounced": {"deadline_ms"},
    "CollectionCompleted": {"opened_at_ms", "next_window_ms", "collection", "configuration"},
    "RoundAbandoned": {"timestamp", "min_instances", "instance_count", "next_sync_window", "dropped"},
}

#: Events of the workers; what instances and operators send is signed, or anybody's.
TYPES = sorted(
    set(EVENTS)
    - {"InstanceRegistered", "InstanceDeregistered", "Heartbeat", "SynchronizationRequested"}
    - {"KnowledgeAcknowledged", "PatternReport"}
)


@pytest.fixture(scope="module")
def world() -> World:
    return World(11, patterns=6).play(60)


def numbers(value: Any, given: set[str], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every number that is no decision."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name not in given:
                yield from numbers(each, given, (*path, name))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from numbers(each, given, (*path, place))
    elif type(value) in {int, float}:
        yield path


def changed(record: Record, path: tuple[Any, ...]) -> Record:
    """Return the record with another number at the path."""
    document = orjson.loads(record.value or b"")
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    number = inner[path[-1]]
    inner[path[-1]] = number + 1 if isinstance(number, int) else (0.5 if number == 0.25 else 0.25)
    return replace(record, value=orjson.dumps(document))


def first_difference(world: World, record: Record, other: Record | None) -> Finding:
    records = [other if each is record else each for each in world.line.log]
    findings = replay(log_of(world.line, [each for each in records if each is not None]), RULES)
    return next(each for each in findings if each.verdict is Verdict.DIFFERENT)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("seed", range(2))
def test_a_changed_number_is_found_where_it_was_changed(world: World, name: str, seed: int) -> None:
    draw = Random(f"{name}{seed}")  # noqa: S311
    places = [
        (record, path)
        for record in world.line.log
        if event_type(record) == name and record.value is not None
        for path in numbers(orjson.loads(record.value), GIVEN.get(name, set()))
    ]
    record, path = draw.choice(places)
    finding = first_difference(world, record, changed(record, path))
    assert finding.difference is not None
    where = finding.difference.where
    stands = f"{record.topic}/{record.partition}/{record.offset}"
    assert stands in where or orjson.loads(record.value or b"").get("round_id", "?") in where, (where, path)


@pytest.mark.parametrize("name", sorted(set(TYPES) - {"InstanceHealth", "RoundAbandoned"}))
def test_an_event_that_is_lost_is_missed(world: World, name: str) -> None:
    lost = [record for record in world.line.log if event_type(record) == name]
    # What is missing at the end of the log may still come; of knowledge only the last word must be kept
    one = lost[-1] if name in {"AggregatedPattern", "KnowledgeMark"} else lost[0]
    finding = first_difference(world, one, None)
    assert finding.difference is not None


@pytest.mark.parametrize("name", TYPES)
def test_an_event_that_stands_twice_is_found(world: World, name: str) -> None:
    twice = next(record for record in world.line.log if event_type(record) == name)
    end = max(each.offset for each in world.line.log if each.topic == twice.topic) + 1
    records = [*world.line.log, replace(twice, offset=end)]
    findings = replay(log_of(world.line, records), RULES)
    assert any(each.verdict is Verdict.DIFFERENT for each in findings)


#: Rows are also in the contributions, and partials are only compared.
RECOMPUTED_WITHOUT = {"flc.reports.v1", "flc.partials.v1"}


def test_what_retention_has_removed_is_outside_the_window_and_never_different(world: World) -> None:
    log = log_of(world.line, world.line.log)
    for cut in ("flc.reports.v1", "flc.contributions.v1", "flc.rounds.v1", "flc.partials.v1"):
        starts = dict(log.starts)
        for at, records in log.records.items():
            if at[0] in {cut, "flc.reports.v1"} and records:
                starts[at] = records[len(records) // 2].offset
        left = {
            at: tuple(each for each in some if each.offset >= starts[at]) for at, some in log.records.items()
        }
        findings = list(replay(replace(log, records=left, starts=starts), RULES))
        assert [str(each.difference) for each in findings if each.difference] == [], cut
        assert Verdict.OUTSIDE in {each.verdict for each in findings} or cut in RECOMPUTED_WITHOUT


def test_what_the_workers_have_not_come_to_is_under_way(world: World) -> None:
    last = max(
        record.append_ms for record in world.line.log if event_type(record) == "SynchronizationCompleted"
    )
    log = log_of(
        world.line, [each for each in world.line.log if each.append_ms < last], settled_ms=last - 10_000
    )
    findings = list(replay(log, RULES))
    assert [str(each.difference) for each in findings if each.difference] == []
    assert Verdict.UNDER_WAY in {each.verdict for each in findings}
