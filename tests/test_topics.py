"""topics.yaml: what it says, and how it complains."""

import pytest

from schemas.catalogue import EVENTS
from schemas.topics import APPEND_TIME, TIMESTAMP_TYPE, TopicsInvalid, load, parse, path


def broken(old: str, new: str) -> tuple[str, ...]:
    """Return the problems of the real file after one change."""
    text = path().read_text()
    assert old in text
    with pytest.raises(TopicsInvalid) as failure:
        parse(text.replace(old, new, 1))
    return failure.value.problems


def test_every_topic_is_settled_by_the_defaults() -> None:
    topics = load()

    for topic in topics.declared.values():
        assert topic.configs[TIMESTAMP_TYPE] == APPEND_TIME
        assert topic.partitions == 6
        assert topic.replication == 1


def test_an_environment_overrides_the_defaults() -> None:
    topic = load("production")["flc.reports.v1"]

    assert topic.replication == 3
    assert topic.configs["min.insync.replicas"] == "2"
    assert topic.configs["retention.ms"] == "1209600000"
    assert "min.insync.replicas" not in load()["flc.reports.v1"].configs


def test_every_event_of_the_contract_travels_on_the_topic_that_it_names() -> None:
    carried = {event: topic.name for topic in load().declared.values() for event in topic.events}

    assert carried == {name: event.topic for name, event in EVENTS.items()}


def test_a_changelog_has_the_partitions_of_the_inputs() -> None:
    text = path().read_text().replace("partitions: 6", "partitions: 4")

    changelog = parse(text).changelog("privacy", ["flc.reports.v1", "flc.instances.v1"])

    assert changelog.name == "flc.changelog.privacy.v1"
    assert changelog.partitions == 4
    assert changelog.configs["cleanup.policy"] == "compact"
    assert changelog.configs[TIMESTAMP_TYPE] == APPEND_TIME


def test_a_changelog_of_the_production_environment_is_replicated_as_its_topics() -> None:
    changelog = load("production").changelog("health", ["flc.heartbeats.v1"])

    assert changelog.replication == 3
    assert changelog.configs["min.insync.replicas"] == "2"


def test_inputs_that_are_not_partitioned_alike_have_no_changelog() -> None:
    text = path().read_text().replace("    group: bucket", "    group: bucket\n    partitions: 8")

    with pytest.raises(TopicsInvalid, match="different numbers of partitions"):
        parse(text).changelog("odd", ["flc.contributions.v1", "flc.reports.v1"])


def test_a_worker_touches_its_inputs_its_outputs_and_its_changelog_once_each() -> None:
    touched = load().of_worker("collection", ["flc.health.v1", "flc.convergence.v1"], ["flc.convergence.v1"])

    assert [topic.name for topic in touched] == [
        "flc.health.v1",
        "flc.convergence.v1",
        "flc.changelog.collection.v1",
    ]


def test_an_unknown_key_is_refused_with_a_proposal() -> None:
    (problem,) = broken(
        "    consumers: [privacy, operator]", "    consumer: [privacy]\n    consumers: [privacy]"
    )

    assert problem == "topics.2.consumer is unknown; did you mean consumers?"


def test_an_unknown_section_is_refused_with_a_proposal() -> None:
    (problem,) = broken("environments:", "environment: {}\nenvironments:")

    assert problem == "environment is unknown; did you mean environments?"


def test_a_config_that_kafka_does_not_know_is_refused_with_a_proposal() -> None:
    (problem,) = broken('cleanup.policy: delete, retention.ms: "86400000"', "cleanup.polcy: delete")

    assert problem == "flc.heartbeats.v1: no topic config cleanup.polcy; did you mean cleanup.policy?"


def test_a_config_that_is_no_string_is_refused() -> None:
    (problem,) = broken('retention.ms: "86400000"', "retention.ms: 86400000")

    assert problem == "topics.1.configs.retention.ms must be a string: put 86400000 in quotes"


def test_a_topic_that_the_broker_does_not_stamp_is_refused() -> None:
    (problem,) = broken(
        '{cleanup.policy: delete, retention.ms: "-1"}', "{message.timestamp.type: CreateTime}"
    )

    assert problem == "flc.instances.v1: message.timestamp.type must be LogAppendTime"


def test_a_group_with_different_numbers_of_partitions_is_refused() -> None:
    (problem,) = broken("    group: instance", "    group: instance\n    partitions: 12")

    assert problem == "the topics of group instance have different numbers of partitions: [6, 12]"


def test_more_than_sixteen_buckets_are_refused() -> None:
    text = path().read_text().replace("    group: bucket", "    group: bucket\n    partitions: 17")

    with pytest.raises(TopicsInvalid) as failure:
        parse(text)

    assert failure.value.problems == (
        "flc.contributions.v1: 17 partitions, a bucket topic has at most 16",
        "flc.knowledge.v1: 17 partitions, a bucket topic has at most 16",
    )


def test_an_event_that_is_not_in_the_contract_is_refused_with_a_proposal() -> None:
    (problem,) = broken("events: [Heartbeat]", "events: [Heartbeats]")

    assert problem == "flc.heartbeats.v1: no event Heartbeats; did you mean Heartbeat?"


def test_a_topic_that_is_declared_twice_is_refused() -> None:
    problems = broken("name: flc.heartbeats.v1", "name: flc.instances.v1")

    assert problems == ("flc.instances.v1 is declared more than once",)


def test_an_unknown_environment_is_refused_with_a_proposal() -> None:
    with pytest.raises(TopicsInvalid, match=r"no environment prodution; did you mean production\?"):
        load("prodution")


def test_text_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(TopicsInvalid):
        parse("topics: [")
