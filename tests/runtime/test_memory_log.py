"""The log in memory forgets what a broker would."""

from workers.runtime.memory_log import Log
from workers.runtime.port import Message, TopicDescription, TopicPartition


def _appended(log: Log, topic: str, *keys: str) -> None:
    for key in keys:
        log.append(Message(topic, 0, key.encode(), key.encode()))


def _keys(log: Log, topic: str) -> list[str]:
    return [(record.key or b"").decode() for record in log.records(TopicPartition(topic, 0))]


def test_cleaned_it_keeps_what_is_young_enough_and_the_last_of_every_key() -> None:
    now_ms = 0
    log = Log(now_ms=lambda: now_ms)
    for name, configs in {
        "events": {"cleanup.policy": "delete", "retention.ms": "1000"},
        "for-ever": {"cleanup.policy": "delete", "retention.ms": "-1"},
        "state": {"cleanup.policy": "compact"},
    }.items():
        log.create(TopicDescription(name, 1, 1, configs))
        _appended(log, name, "a", "b")
    now_ms = 500
    for name in log.topics:
        _appended(log, name, "b", "c")
    now_ms = 1_001
    log.clean()
    assert _keys(log, "events") == ["b", "c"]
    assert _keys(log, "for-ever") == ["a", "b", "b", "c"]
    assert _keys(log, "state") == ["a", "b", "c"]
    now_ms = 9_000
    log.clean()
    assert _keys(log, "events") == []
    _appended(log, "events", "d")
    assert _keys(log, "events") == ["d"]
