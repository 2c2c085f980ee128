"""The compose file, checked statically: what a container engine would only tell at night."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flc.broker import VERSION
from flc.main import COMMANDS
from schemas.topics import load
from workers.catalogue import WORKERS
from workers.settings import Settings

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
#: Who looks from outside, by profile.
LOOKING = {"page": "page", "prometheus": "monitoring", "grafana": "monitoring", "kafka-ui": "kafka-ui"}
SCALING = [*WORKERS, "simulation"]


def test_every_worker_is_a_service_that_runs_it() -> None:
    for worker in WORKERS:
        assert SERVICES[worker]["command"] == ["worker", "run", worker]
    assert set(SERVICES) == {*WORKERS, "kafka", "topics-init", "simulation", *LOOKING}


@pytest.mark.parametrize("name", SCALING)
def test_what_scales_has_neither_a_fixed_name_nor_a_host_port(name: str) -> None:
    assert "container_name" not in SERVICES[name]
    assert "ports" not in SERVICES[name]


@pytest.mark.parametrize("name", SCALING)
def test_what_scales_drains_before_it_is_killed(name: str) -> None:
    assert SERVICES[name]["init"] is True
    assert SERVICES[name]["stop_grace_period"] == "30s"


@pytest.mark.parametrize("name", sorted(OURS))
def test_everything_waits_for_the_broker_and_every_dependency_has_a_condition(name: str) -> None:
    dependencies = OURS[name]["depends_on"]
    assert all("condition" in dependency for dependency in dependencies.values())
    assert dependencies["kafka"]["condition"] == "service_healthy"
    if name != "topics-init":
        assert dependencies["topics-init"]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_and_every_setting_exists(name: str) -> None:
    assert OURS[name]["command"][0] in COMMANDS
    settings = {f"FLC_{field}".upper() for field in Settings.model_fields}
    for variable in OURS[name]["environment"]:
        assert variable in settings or variable == "KAFKA_BOOTSTRAP_SERVERS"


def test_the_broker_is_the_version_that_the_tests_run_on() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{VERSION}"


def test_the_broker_has_a_listener_for_the_inside_and_one_for_the_host() -> None:
    environment = SERVICES["kafka"]["environment"]
    advertised = dict(entry.split("://") for entry in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    for service in OURS.values():
        assert service["environment"]["KAFKA_BOOTSTRAP_SERVERS"] == advertised["INSIDE"]
    assert advertised["OUTSIDE"] == "localhost:9092"
    assert "kafka-broker-api-versions.sh" in SERVICES["kafka"]["healthcheck"]["test"]


def test_the_simulation_starts_only_when_it_is_asked_for() -> None:
    assert SERVICES["simulation"]["profiles"] == ["simulation"]
    assert [name for name in OURS if "profiles" in OURS[name]] == ["simulation", "page"]


@pytest.mark.parametrize(("name", "profile"), LOOKING.items())
def test_who_looks_starts_when_asked_for_and_is_seen_on_this_machine_only(name: str, profile: str) -> None:
    assert SERVICES[name]["profiles"] == [profile]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])
    dependencies = SERVICES[name].get("depends_on", {})
    assert all("condition" in dependency for dependency in dependencies.values())
    assert {SERVICES[each].get("profiles", [profile])[0] for each in dependencies} <= {profile}


def test_what_instances_send_is_masked_in_the_browser_of_the_topics() -> None:
    environment = SERVICES["kafka-ui"]["environment"]
    masked = re.compile(environment["KAFKA_CLUSTERS_0_MASKING_0_TOPICVALUESPATTERN"])
    topics = load().declared.values()
    raw = {topic.name for topic in topics if topic.classification == "raw"}
    assert {topic.name for topic in topics if masked.fullmatch(topic.name)} == raw
    assert environment["KAFKA_CLUSTERS_0_READONLY"] == "true"
    assert environment["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"] == "kafka:19092"


def test_prometheus_scrapes_every_worker_where_it_serves() -> None:
    (job,) = yaml.safe_load((ROOT / "ops" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert job["job_name"] == "flc"
    assert found["names"] == list(WORKERS)
    assert found["port"] == Settings.model_fields["http_port"].default


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_what_is_mounted_exists(name: str) -> None:
    for volume in SERVICES[name]["volumes"]:
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (ROOT / source).exists()


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    provisioning = ROOT / "ops" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "flc.yml").read_text())["providers"]
    mounted = {volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]}
    assert f"{provider['options']['path']}/dashboard.json" in mounted


def test_the_image_runs_as_an_ordinary_user_and_holds_no_build_tools() -> None:
    _, build, final = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    assert "uv sync" in build
    assert "\nUSER flc\n" in final
    assert "uv" not in final
