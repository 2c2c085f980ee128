"""Every setting, once: command line > environment > .env > default; prefix FLC_, Kafka's names as aliases."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.event import KeyId, Name
from schemas.rounds import Configuration


def _kafka(name: str) -> AliasChoices:
    return AliasChoices(f"FLC_KAFKA_{name}", f"KAFKA_{name}")


Share = Annotated[float, Field(ge=0, le=1)]
PositiveMilliseconds = Annotated[int, Field(gt=0)]

#: A hundred years are for ever: infinity has no milliseconds.
_FOR_EVER_S = 100 * 365 * 86_400.0
PositiveSeconds = Annotated[float, Field(gt=0, le=_FOR_EVER_S)]


class Settings(BaseSettings):
    """The settings of a process: of a worker, a client or a command."""

    model_config = SettingsConfigDict(
        env_prefix="FLC_", env_file=".env", extra="ignore", frozen=True, populate_by_name=True
    )

    # the cluster
    bootstrap_servers: str | None = Field(
        default=None, validation_alias=_kafka("BOOTSTRAP_SERVERS"), description="host:port, comma separated."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", validation_alias=_kafka("SECURITY_PROTOCOL")
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, validation_alias=_kafka("SASL_MECHANISM")
    )
    sasl_username: str | None = Field(default=None, validation_alias=_kafka("SASL_USERNAME"))
    sasl_password: SecretStr | None = Field(default=None, validation_alias=_kafka("SASL_PASSWORD"))
    sasl_password_file: Path | None = Field(default=None, validation_alias=_kafka("SASL_PASSWORD_FILE"))
    ssl_cafile: Path | None = Field(default=None, validation_alias=_kafka("SSL_CAFILE"))
    ssl_certfile: Path | None = Field(default=None, validation_alias=_kafka("SSL_CERTFILE"))
    ssl_keyfile: Path | None = Field(default=None, validation_alias=_kafka("SSL_KEYFILE"))
    client_id: str = Field(default="flc", validation_alias=_kafka("CLIENT_ID"))

    # the federation
    federation: Name = "default"
    enrolment: Literal["operator", "open"] = "operator"
    operator_keys: dict[Name, KeyId] = Field(
        default_factory=dict, description="Public operator key by federation ('*' is not a name: use each)."
    )
    keys_directory: Path = Path(".flc/keys")
    release_threshold: Annotated[int, Field(ge=2)] = 5
    min_epistemic_certainty: Share = 0.85
    pattern_quality_threshold: Share = 0.7
    min_instance_weight: Annotated[float, Field(gt=0, le=1)] = 0.1
    aggregation_method: Literal["mean", "median", "trimmed"] = "mean"
    aggregation_trim: Annotated[float, Field(ge=0, le=0.499_999)] = 0.0

    # time
    update_interval_ms: PositiveMilliseconds = 500
    sync_window_s: PositiveSeconds = 3600.0
    min_instances: Annotated[int, Field(ge=1)] = 2
    collection_deadline_ms: PositiveMilliseconds = 10_000
    acknowledgement_deadline_ms: PositiveMilliseconds = 5_000
    heartbeat_timeout_s: PositiveSeconds = 300.0
    report_max_age_s: PositiveSeconds = 7 * 86_400.0
    audit_window_s: Annotated[float, Field(ge=0, le=_FOR_EVER_S)] = 7 * 86_400.0
    max_sequence_ahead_ms: PositiveMilliseconds = 120_000
    max_sequence_behind_ms: PositiveMilliseconds = 86_400_000
    max_reports_a_minute: Annotated[int, Field(gt=0)] = Field(
        default=1_200, description="Reports of one instance in a minute of broker time; above: rate_limited."
    )
    max_report_bytes_a_minute: Annotated[int, Field(gt=0)] = Field(
        default=128 * 1024 * 1024, description="Their bytes; above: rate_limited."
    )
    wait_timeout_s: PositiveSeconds = 30.0

    # the runtime
    transactional_id_prefix: Name = "flc"
    group_instance_id: str | None = Field(
        default=None, description="Static membership: unique per process; set it only where that is certain."
    )
    session_timeout_ms: PositiveMilliseconds = 30_000
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65_535)] = 9464
    page_address: Annotated[str, Field(pattern=r"^.+:[0-9]{1,5}$")] = Field(
        default="127.0.0.1:9465", description="host:port of the live page; port 0: any free one."
    )
    page_token: SecretStr | None = Field(
        default=None, description="Who opens the page must know it; needed to listen beyond this machine."
    )
    page_token_file: Path | None = Field(default=None, description="Holds the page token, instead.")
    tracing: bool = Field(
        default=False, description="Tell spans to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    dead_letter_key: SecretStr = Field(
        default=SecretStr("flc"), description="Key of the hash by which dead letters name a payload."
    )

    dead_letter_key_file: Path | None = Field(default=None, description="Holds the key, instead.")

    @model_validator(mode="before")
    @classmethod
    def _read_secrets(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Take secrets from files; that of the broker is read at each connection, for it may change."""
        found: dict[str, str] = {}
        for name in ("page_token", "dead_letter_key"):
            if file := given.get(f"{name}_file"):
                try:
                    found[name] = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
                except OSError as error:
                    raise ValueError(f"FLC_{name.upper()}_FILE cannot be read: {error}") from error
        return given | found

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.aggregation_method != "trimmed" and self.aggregation_trim:
            raise ValueError("aggregation_trim goes with aggregation_method=trimmed")
        return self

    @property
    def heartbeat_ms(self) -> int:
        """Milliseconds between two signs of life of a member of a consumer group.

        So soon it hears of a rebalance; and what failed is rebuilt after two, for an owner hears of none.
        """
        return min(1_000, self.session_timeout_ms // 3)

    def configuration(self) -> Configuration:
        """Return what a round's result depends on, in micro-units."""
        return Configuration(
            min_instances=self.min_instances,
            min_instance_weight=max(1, _micro(self.min_instance_weight)),
            min_data_quality=_micro(self.pattern_quality_threshold),
            report_max_age_ms=int(self.report_max_age_s * 1000),
            method=self.aggregation_method,
            trim=_micro(self.aggregation_trim),
            release_threshold=self.release_threshold,
        )


def _micro(value: float) -> int:
    # As ``learning.micro.to_micro`` does; but commands that only need their settings do not load numpy.
    return int(value * 1e6 + 0.5)
