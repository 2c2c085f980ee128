"""A whole log, replayed: from the registrations to the knowledge, one finding a subject."""

from collections.abc import Iterator, Mapping, Sequence

from convergence.replay import contributions, health, intrusions, knowledge, letters, registrations, results
from convergence.replay.assembly import Round, Rounds, assemble
from convergence.replay.collection import Collections
from convergence.replay.contributions import Contributions
from convergence.replay.findings import Comparison, Finding, OutsideError, Verdict, examined
from convergence.replay.health import Facts
from convergence.replay.letters import Letter, Source
from convergence.replay.log import Log
from convergence.replay.participation import Attendance
from convergence.replay.phases import Phases
from convergence.replay.registrations import Registrations
from convergence.replay.reports import Judgement, Reports
from convergence.replay.rules import Rules
from schemas.convergence import RoundEvent
from schemas.reports import Contribution, PatternReport
from schemas.rounds import HandOver, RoundKind


def replay(log: Log, rules: Rules, round_id: str | None = None) -> Iterator[Finding]:
    """Yield what a replay finds, of everything or of one round; nothing if the log knows no such round."""
    if round_id is not None:
        log = log.of_federation(round_id.partition("/")[0])
    yield from Replay(log, rules).findings(round_id)


def subject_of(round_id: str) -> str:
    """Return the subject of the finding on a round."""
    return f"round {round_id}"


class Replay:
    """What has been recomputed so far: what the workers must have come to, beside what they wrote."""

    def __init__(self, log: Log, rules: Rules) -> None:
        self._log = log
        self._rules = rules
        self.registrations: Registrations = registrations.registrations(log, rules)
        self._letters: Mapping[Source, Sequence[Letter]] = {}
        self.reports = Reports()
        self.contributions = Contributions()
        self.rounds: Rounds | None = None
        #: Federation -> its rounds, as far as they could be recomputed.
        self.phases: dict[str, Phases] = {}

    def findings(self, round_id: str | None = None) -> Iterator[Finding]:
        """Recompute; yield what is found, of everything or of one round."""
        ground = list(self.ground())
        if round_id is None:
            yield from ground
        if self.rounds is not None:
            for federation in self.rounds.federations():
                yield from self.federation(self.rounds, federation, round_id)

    @property
    def _facts(self) -> Facts:
        return Facts(self.reports, self.registrations)

    # -- what all rounds stand on

    def ground(self) -> Iterator[Finding]:
        """Judge all that was sent; yield a finding on each kind of what was made of it."""
        yield examined("events between workers", self._read)
        yield examined("reports and admissions", self._judge)
        yield examined("contributions", self._contribute)
        yield examined("dead letters", self._refuse)
        yield examined("health", self._observe)
        assembled = examined("rounds", self._assemble)
        if assembled.verdict is not Verdict.EQUAL:
            yield assembled

    def _read(self, comparison: Comparison) -> None:
        self._letters = letters.letters(self._log, comparison)
        intrusions.examine(self._log, self._letters, comparison)

    def _judge(self, comparison: Comparison) -> str:
        lettered = {
            partition: max(letter.last for letter in written)
            for (topic, partition), written in self._letters.items()
            if topic == PatternReport.topic
        }
        judgement = Judgement(self._log, self._rules, self.registrations, lettered, self.reports)
        judgement.run(comparison)
        return _waiting(self.reports.waiting)

    def _contribute(self, comparison: Comparison) -> None:
        contributions.read(self._log, self.reports, self.contributions)
        contributions.Examination(
            self._log, self.contributions, self.reports, self.registrations, comparison
        ).run()

    def _refuse(self, comparison: Comparison) -> str:
        examination = letters.Examination(
            self._log, self._rules, self.registrations, self.reports, self._letters, comparison
        )
        return _waiting(examination.run())

    def _observe(self, comparison: Comparison) -> None:
        health.examine(self._log, self._rules, self._facts, comparison)

    def _assemble(self, comparison: Comparison) -> None:
        self.rounds = assemble(self._log)
        comparison.compared = len(self.rounds.by_id)

    # -- the rounds

    def federation(self, rounds: Rounds, federation: str, round_id: str | None) -> Iterator[Finding]:
        """Recompute the rounds of a federation; yield a finding on each, or on the one that is asked for."""
        phases = Phases(
            log=self._log,
            federation=federation,
            reports=self.reports,
            contributions=self.contributions,
            collections=Collections(self._log, self._facts),
            attendance=Attendance(rounds, federation),
        )
        self.phases[federation] = phases
        numbers: dict[RoundKind, int] = {}
        for one in rounds.in_order(federation):
            before = numbers.get(one.kind)
            numbers[one.kind] = one.number

            def examine(comparison: Comparison, one: Round = one, before: int | None = before) -> None:
                self._round(phases, one, before, comparison)

            finding = examined(subject_of(one.round_id), examine)
            if one.kind is RoundKind.SYNCHRONIZATION and finding.verdict is not Verdict.EQUAL:
                phases.ledgers_lost = True
            if round_id in {None, one.round_id}:
                yield finding
        if round_id is None:
            yield self._knowledge(phases)

    def _round(self, phases: Phases, one: Round, before: int | None, comparison: Comparison) -> None:
        first = 1 if before is None else before + 1
        if before is not None or not (self._log.is_cut(HandOver.topic) or self._log.is_cut(RoundEvent.topic)):
            comparison.values(f"{one.round_id}: the number of the round", one.number, first)
        detected = phases.examine(one, comparison)
        if detected is None:
            results.abandoned(self._log, one, comparison)
        else:
            results.completed(self._log, one, detected, comparison)

    def _knowledge(self, phases: Phases) -> Finding:
        def examine(comparison: Comparison) -> None:
            if phases.ledgers_lost:
                raise OutsideError("a synchronization could not be recomputed")
            for bucket in range(self._log.partitions[Contribution.topic]):
                ledger = phases.ledgers.get(bucket, knowledge.Ledger())
                knowledge.examine(self._log, phases.federation, bucket, ledger, comparison)

        return examined(f"knowledge of {phases.federation}", examine)


def _waiting(count: int) -> str:
    return f"{count} at the end have no answer yet" if count else ""
