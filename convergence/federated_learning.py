"""A federation in this process: instances register, report what they learned, and see how it converges."""

import math
import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from convergence.errors import InvalidInstance, NotRegistered
from convergence.keys import KEY_BYTES, FederationKey
from convergence.local_federation import LocalFederation, Member, Round, Taken
from convergence.patterns import Pattern, read_patterns
from convergence.results import aggregated_patterns, pattern_signatures
from convergence.sequence import Clock, now_ms
from convergence.types import (
    AggregatedPattern,
    ConvergenceResult,
    InstanceMetadata,
    InstanceStatus,
    PatternSignature,
    at,
)
from learning import admission
from learning.micro import U, to_micro
from schemas.instances import InstanceRegistered, PublicKey
from schemas.rounds import Configuration, RoundInstances
from workers.cohort import is_living

#: The entry of an instance's metadata that names who owns it.
ORGANISATION = "organisation"

#: What the contract of a registration asks for besides: nobody signs in one process.
_FEDERATION = "local"
_NO_KEYS = (PublicKey(key="0" * 64),)


class FederatedLearningConvergence:
    """A federation without a bus: same rules, same formulas, same numbers, to the micro-unit.

    ``min_epistemic_certainty`` and ``pattern_quality_threshold`` (both in [0, 1]) are the gates of a pattern;
    after ``heartbeat_timeout`` without a sign of life an instance is inactive. All methods are to be
    called from one thread.

    ``identity_key`` (32 bytes) makes the identities of patterns; unless it is given it is random, so that ids
    differ from one object to the next. ``clock`` gives the Unix time in ms.
    """

    def __init__(
        self,
        min_epistemic_certainty: float = 0.85,
        pattern_quality_threshold: float = 0.7,
        heartbeat_timeout: timedelta = timedelta(minutes=5),
        *,
        identity_key: bytes | None = None,
        clock: Clock = now_ms,
    ) -> None:
        for name, value in (
            ("min_epistemic_certainty", min_epistemic_certainty),
            ("pattern_quality_threshold", pattern_quality_threshold),
        ):
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise ValueError(f"{name} must be in [0, 1]")
        if heartbeat_timeout <= timedelta(0):
            raise ValueError("heartbeat_timeout must be positive")
        self.min_epistemic_certainty = min_epistemic_certainty
        self.pattern_quality_threshold = pattern_quality_threshold
        self.heartbeat_timeout = heartbeat_timeout
        #: The registered instances by id.
        self.instance_registry: dict[str, InstanceMetadata] = {}
        self._clock = clock
        self._federation = LocalFederation(
            FederationKey(0, identity_key or secrets.token_bytes(KEY_BYTES)),
            admission.thresholds(min_epistemic_certainty, pattern_quality_threshold),
            Configuration(min_data_quality=to_micro(pattern_quality_threshold)),
            int(heartbeat_timeout.total_seconds() * 1000),
        )
        self._last: tuple[Round, int] | None = None
        self._received = 0
        self._calculations = 0

    def register_instance(
        self,
        instance_id: str,
        instance_name: str,
        deployment_region: str,
        metadata: Mapping[str, Any] | None = None,
    ) -> InstanceMetadata:
        """Register an instance, or update what is known of it; what it holds and its history stay.

        ``metadata["organisation"]`` names who owns it (default: the instance id). Raises InvalidInstance, a
        ValueError, for a name that no bus would take.
        """
        known = self.instance_registry.get(instance_id)
        merged = {**(known.metadata if known is not None else {}), **(metadata or {})}
        try:
            InstanceRegistered(
                federation=_FEDERATION,
                instance_id=instance_id,
                instance_name=instance_name,
                deployment_region=deployment_region,
                organisation=merged.get(ORGANISATION, instance_id),
                enrolment=1,
                public_keys=_NO_KEYS,
                metadata=text(merged),
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InvalidInstance(str(first["loc"][0]), first["msg"]) from None
        if known is None:
            known = InstanceMetadata(
                instance_id,
                instance_name,
                deployment_region,
                registered_at=at(self._clock()),
                metadata=merged,
            )
            self.instance_registry[instance_id] = known
        known.instance_name = instance_name
        known.deployment_region = deployment_region
        known.metadata = merged
        self._federation.join(instance_id, organisation(known))
        return known

    def update_instance_heartbeat(self, instance_id: str) -> bool:
        """Take a sign of life; False if the instance is not registered.

        An inactive instance comes back with a report, or with three heartbeats in time.
        """
        if instance_id not in self.instance_registry:
            return False
        self._federation.beat(instance_id, self._clock())
        self._show(instance_id)
        return True

    def check_instance_health(self, instance_id: str) -> bool:
        """Return whether the instance is active or degraded now; False if it is not registered."""
        if instance_id not in self.instance_registry:
            return False
        status = self._federation.look(instance_id, self._clock())
        self._show(instance_id)
        return is_living(status)

    async def aggregate_learning(
        self, instance_id: str, local_patterns: Iterable[Mapping[str, Any] | Pattern | PatternSignature]
    ) -> ConvergenceResult:
        """Take everything that an instance holds now, in place of what it held, and score the federation.

        Patterns below the gates are filtered and counted in the result's metadata. Raises NotRegistered and
        PatternError (both are ValueErrors, the latter with index and field): then nothing has changed.
        """
        taken = self.take(instance_id, local_patterns)
        done = self.compute(self.collect())
        scores, ids = done.scores, done.instance_ids
        row = ids.index(instance_id) if instance_id in ids else None
        return ConvergenceResult(
            convergence_score=0.0 if row is None else int(scores.members.convergence[row]) / U,
            emergence_score=0.0 if row is None else int(scores.members.emergence[row]) / U,
            patterns_aggregated=done.library,
            instances_contributing=len(ids),
            pattern_alignment=scores.overall.pattern_alignment / U,
            global_emergence_factor=scores.overall.global_emergence / U,
            timestamp=at(self._clock()),
            metadata=accounting(instance_id, taken, done.outcome(instance_id)),
        )

    def take(
        self, instance_id: str, local_patterns: Iterable[Mapping[str, Any] | Pattern | PatternSignature]
    ) -> Taken:
        """Take a report without scoring anything; raises as ``aggregate_learning`` does."""
        if instance_id not in self.instance_registry:
            raise NotRegistered(instance_id)
        taken = self._federation.take(instance_id, read_patterns(local_patterns), self._clock())
        self._received += taken.received
        self.instance_registry[instance_id].total_requests += taken.received
        self._show(instance_id)
        return taken

    def collect(self, min_instance_weight: float | None = None) -> RoundInstances:
        """Return who would be in a round now, with which weight, and who would not and why."""
        reliability = {
            name: to_micro(min(1.0, max(0.0, known.reliability_score)))
            for name, known in self.instance_registry.items()
        }
        floor = None if min_instance_weight is None else max(1, to_micro(min_instance_weight))
        return self._federation.instances(reliability, self._clock(), floor)

    def compute(self, instances: RoundInstances, *, synchronization: bool = False) -> Round:
        """Compute a round over the cohort; its library is the global one from now on."""
        done = self._federation.round(instances, synchronization=synchronization)
        self._last = done, self._clock()
        self._calculations += 1
        return done

    def _show(self, instance_id: str) -> None:
        """Bring what is shown of an instance up to date."""
        vitals, known = self._federation.member(instance_id).vitals, self.instance_registry[instance_id]
        known.status = InstanceStatus(vitals.status)
        known.last_heartbeat = None if vitals.last_seen_ms is None else at(vitals.last_seen_ms)
        known.data_quality_score = vitals.data_quality / U
        known.pattern_count = vitals.pattern_count

    @property
    def instance_patterns(self) -> Mapping[str, list[PatternSignature]]:
        """The accepted patterns of each instance, anonymised; a view, built when it is looked at."""
        return _InstancePatterns(self._federation, self.min_epistemic_certainty)

    @property
    def global_pattern_library(self) -> dict[str, AggregatedPattern]:
        """The library by pattern id, as of the last round: what several organisations hold."""
        if self._last is None:
            return {}
        done, when_ms = self._last
        return aggregated_patterns(done, at(when_ms), self.min_epistemic_certainty)

    def get_global_pattern_library(self) -> dict[str, AggregatedPattern]:
        """Return the library by pattern id, as of the last round."""
        return self.global_pattern_library

    def get_instance_registry(self) -> dict[str, InstanceMetadata]:
        """Return the registered instances by id."""
        return dict(self.instance_registry)

    def _library_size(self) -> int:
        return 0 if self._last is None else self._last[0].library

    def get_stats(self) -> dict[str, Any]:
        """Return the counts so far: patterns received and in the library, instances, calculations."""
        return {
            "total_patterns_received": self._received,
            "total_patterns_aggregated": self._library_size(),
            "total_instances_registered": len(self.instance_registry),
            "convergence_calculations": self._calculations,
        }


class _InstancePatterns(Mapping[str, list[PatternSignature]]):
    """Instance id -> its accepted patterns; what is kept is packed rows."""

    def __init__(self, federation: LocalFederation, min_epistemic_certainty: float) -> None:
        self._federation = federation
        self._min_certainty = min_epistemic_certainty

    def __getitem__(self, instance_id: str) -> list[PatternSignature]:
        member: Member = self._federation.members[instance_id]
        words = tuple(self._federation.words)
        return pattern_signatures(member, instance_id, words, self._min_certainty)

    def __iter__(self) -> Iterator[str]:
        return iter(self._federation.members)

    def __len__(self) -> int:
        return len(self._federation.members)


def organisation(instance: InstanceMetadata) -> str:
    """Return who owns an instance: its metadata's organisation, else itself."""
    owner: str = instance.metadata.get(ORGANISATION, instance.instance_id)
    return owner


def text(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return metadata as it travels: flat, as text."""
    return {str(key): str(value) for key, value in metadata.items()}


def accounting(instance_id: str, taken: Taken, outcome: str) -> dict[str, Any]:
    """Return the metadata of a ConvergenceResult."""
    return {
        "instance_id": instance_id,
        "patterns_received": taken.received,
        "patterns_validated": taken.accepted,
        "filtered": {str(reason): count for reason, count in taken.rejected.items()},
        "outcome": outcome,
    }
