"""The declared topics against the live ones."""

import uuid
from dataclasses import replace

import pytest

from schemas.topics import Topic, load
from workers.privacy import Privacy
from workers.runtime.failures import Misconfigured
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import TopicDescription
from workers.runtime.supervisor import Process
from workers.runtime.topology import Plan, Update, apply, check, plan
from workers.settings import Settings

REPORTS = load()["flc.reports.v1"]
INSTANCES = load()["flc.instances.v1"]


def live(topic: Topic) -> TopicDescription:
    """Return the topic as a broker that follows the declaration describes it."""
    effective = {"compression.type": "producer", **topic.configs}
    return TopicDescription(topic.name, topic.partitions, topic.replication, effective)


def test_a_missing_topic_is_created_as_declared() -> None:
    planned = plan([REPORTS], {})

    assert planned == Plan(
        create=(TopicDescription(REPORTS.name, 6, 1, REPORTS.configs),), update=(), unchanged=(), refused=()
    )


def test_a_topic_as_declared_stays() -> None:
    assert plan([REPORTS], {REPORTS.name: live(REPORTS)}) == Plan((), (), (REPORTS.name,), ())


def test_a_config_that_differs_is_updated_with_all_that_is_declared() -> None:
    found = live(REPORTS)
    found = replace(found, configs={**found.configs, "retention.ms": "1"})

    planned = plan([REPORTS], {REPORTS.name: found})

    change = {"retention.ms": ("1", "1209600000")}
    assert planned == Plan((), (Update(REPORTS.name, REPORTS.configs, change),), (), ())


def test_a_topic_that_is_not_declared_is_left_alone() -> None:
    assert plan([], {REPORTS.name: live(REPORTS)}) == Plan((), (), (), ())


def test_another_number_of_partitions_is_refused() -> None:
    found = replace(live(REPORTS), partitions=3, configs={})

    planned = plan([REPORTS], {REPORTS.name: found})

    assert (planned.create, planned.update, planned.unchanged) == ((), (), ())
    assert planned.refused == (
        (
            "flc.reports.v1 has 3 partitions and 6 are declared: "
            "keys would move; make a new major version of the topic"
        ),
    )


def test_another_number_of_replicas_is_refused_and_the_configs_still_follow() -> None:
    found = replace(live(REPORTS), replication=3, configs={**live(REPORTS).configs, "retention.ms": "1"})

    planned = plan([REPORTS], {REPORTS.name: found})

    assert [one.topic for one in planned.update] == [REPORTS.name]
    assert planned.refused[0].startswith("flc.reports.v1 has 3 replicas and 1 are declared")


def test_a_topic_with_too_few_replicas_is_not_made_unwritable() -> None:
    production = load("production")[REPORTS.name]
    found = replace(live(REPORTS), configs={**live(REPORTS).configs, "min.insync.replicas": "1"})

    planned = plan([production], {REPORTS.name: found})

    assert production.configs["min.insync.replicas"] == "2"
    assert planned.update == ()
    assert planned.refused[0].startswith("flc.reports.v1 has 1 replicas and 3 are declared")


def test_a_worker_may_start_on_topics_as_declared() -> None:
    assert check([REPORTS, INSTANCES], {topic.name: live(topic) for topic in (REPORTS, INSTANCES)}) == []


def test_a_worker_may_not_start_without_a_topic() -> None:
    (problem,) = check([REPORTS, INSTANCES], {REPORTS.name: live(REPORTS)})

    assert problem == (
        "the topic flc.instances.v1 is missing: `flc topics apply` creates it; see `flc topics diff`"
    )


def test_a_worker_may_not_start_on_inputs_that_are_not_partitioned_alike() -> None:
    found = {REPORTS.name: live(REPORTS), INSTANCES.name: replace(live(INSTANCES), partitions=12)}

    assert check([REPORTS, INSTANCES], found) == [
        "the topic flc.instances.v1 has 12 partitions, 6 are declared; see `flc topics diff`",
        (
            "the topics flc.reports.v1 and flc.instances.v1 must have the same number of partitions, "
            "they have 6 and 12; see `flc topics diff`"
        ),
    ]


def test_a_worker_may_not_start_on_a_topic_that_the_broker_does_not_stamp() -> None:
    found = replace(live(REPORTS), configs={**live(REPORTS).configs, "message.timestamp.type": "CreateTime"})

    assert check([REPORTS], {REPORTS.name: found}) == [
        (
            "the topic flc.reports.v1 has message.timestamp.type=CreateTime, it must be LogAppendTime; "
            "see `flc topics diff`"
        )
    ]


def problems(
    topic: Topic, replication: int | None = None, keep_days: float = 14, **configs: str
) -> list[str]:
    """Return why a worker may not start on a topic that differs from its declaration in this."""
    found = live(topic)
    changed = {name.replace("_", "."): value for name, value in configs.items()}
    found = replace(found, replication=replication or found.replication, configs={**found.configs, **changed})
    found_problems = check([topic], {topic.name: found}, int(keep_days * 86_400_000))
    return [one.removesuffix("; see `flc topics diff`") for one in found_problems]


#: What says how long reports are needed.
SETTINGS = "FLC_REPORT_MAX_AGE_S and FLC_AUDIT_WINDOW_S together"

PRODUCTION = load("production")["flc.reports.v1"]


def test_a_worker_may_not_start_where_reports_are_forgotten_before_they_are_audited() -> None:
    assert problems(REPORTS) == []
    assert problems(REPORTS, retention_ms="-1") == []
    assert problems(REPORTS, retention_ms="604800000") == [
        f"the topic flc.reports.v1 keeps 7 days, 14 are needed: {SETTINGS}"
    ]
    assert problems(REPORTS, keep_days=37) == [
        f"the topic flc.reports.v1 keeps 14 days, 37 are needed: {SETTINGS}"
    ]
    assert problems(REPORTS, retention_bytes="1000") == [
        "the topic flc.reports.v1 has retention.bytes=1000, it must be -1: age alone decides"
    ]


@pytest.mark.parametrize("name", ["flc.reports.v1", "flc.contributions.v1", "flc.rounds.v1"])
def test_what_a_round_is_recomputed_from_is_kept_long_enough_as_declared(name: str) -> None:
    assert problems(load()[name]) == []
    assert problems(load()[name], retention_ms="1000") != []


def test_what_nobody_audits_may_be_forgotten_sooner() -> None:
    assert problems(load()["flc.heartbeats.v1"], retention_ms="1000") == []


def test_a_worker_may_not_start_where_registrations_or_state_would_be_lost() -> None:
    changelog = load().changelog("privacy", [REPORTS.name])

    assert problems(INSTANCES, retention_ms="1000") == [
        "the topic flc.instances.v1 has retention.ms=1000, it must be -1: it is kept for ever"
    ]
    assert problems(INSTANCES, cleanup_policy="compact") == [
        "the topic flc.instances.v1 has cleanup.policy=compact, it must be delete"
    ]
    assert problems(changelog, cleanup_policy="compact,delete") == [
        "the topic flc.changelog.privacy.v1 has cleanup.policy=compact,delete, it must be compact"
    ]


def test_a_worker_may_not_start_where_less_is_acknowledged_than_declared() -> None:
    assert problems(PRODUCTION) == []
    assert problems(PRODUCTION, min_insync_replicas="1") == [
        "the topic flc.reports.v1 has min.insync.replicas=1, 2 are declared"
    ]
    assert problems(PRODUCTION, replication=2) == ["the topic flc.reports.v1 has 2 replicas, 3 are declared"]
    assert problems(REPORTS, min_insync_replicas="2") == [
        "the topic flc.reports.v1 has min.insync.replicas=2 and 1 replicas: nothing can be written"
    ]
    assert problems(REPORTS, unclean_leader_election_enable="true") == [
        "the topic flc.reports.v1 has unclean.leader.election.enable=true: what is acknowledged may go"
    ]


async def test_a_process_says_in_one_sentence_that_its_topics_forget_too_soon(broker: str) -> None:
    settings = Settings(bootstrap_servers=broker, report_max_age_s=30 * 86_400, _env_file=None)
    declared = load()
    bus = KafkaBus(settings)
    try:
        touched = declared.of_worker(Privacy.name, Privacy.inputs, Privacy.outputs)
        topics = [*touched, declared["flc.dead-letters.v1"]]
        await apply(bus, plan(topics, await bus.describe([topic.name for topic in topics])))
        with pytest.raises(Misconfigured, match=r"flc\.reports\.v1 keeps 14 days, 37 are needed"):
            async with Process(bus, [Privacy], settings):
                pass
    finally:
        await bus.close()


async def test_what_was_applied_is_unchanged_the_next_time_and_what_was_set_by_hand_stays(
    broker: str,
) -> None:
    name = f"flc.reports-{uuid.uuid4().hex}.v1"
    declared = REPORTS.model_copy(update={"name": name, "partitions": 2})
    bus = KafkaBus(Settings(bootstrap_servers=broker))
    try:
        await apply(bus, plan([declared], await bus.describe([name])))
        assert plan([declared], await bus.describe([name])).unchanged == (name,)

        # Given a config that somebody set by hand
        await bus.configure(name, {"segment.ms": "3600000"})
        changed = declared.model_copy(update={"configs": {**declared.configs, "retention.ms": "1000"}})
        await apply(bus, plan([changed], await bus.describe([name])))

        live = await bus.describe([name])
        assert plan([changed], live).unchanged == (name,)
        assert check([changed], live) == []
        assert live[name].configs["segment.ms"] == "3600000"
    finally:
        await bus.close()
