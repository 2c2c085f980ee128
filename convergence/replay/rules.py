"""What the workers' judgement of records depends on beside the log: the settings that they ran with."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rules:
    """The settings of the workers, as far as a replay needs them; shares in micro-units, times in ms."""

    min_certainty: int = 850_000
    min_quality: int = 700_000
    min_weight: int = 100_000
    max_ahead_ms: int = 120_000
    max_behind_ms: int = 86_400_000
    max_reports_a_minute: int = 1_200
    max_report_bytes_a_minute: int = 128 * 1024 * 1024
    #: Whether instances may register themselves.
    open_enrolment: bool = False
    #: Federation -> its operator's public key.
    operator_keys: Mapping[str, str] = field(default_factory=dict)
