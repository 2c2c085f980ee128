"""What the collection remembers of a federation, between the rounds and while one is collected."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from schemas.event import Event
from schemas.health import InstanceHealth
from schemas.rounds import RoundKind
from workers.cohort import admitted_sequence, is_living, judged_sequence
from workers.fold import Record, State, Table


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of a federation: which are in flight, and when the next ones may open. Times are Unix ms."""

    #: When the next scheduled synchronization is due.
    next_window_ms: int
    #: Number of the last update round.
    updates: int = 0
    #: When the update in flight was opened; None: none is.
    update_opened_ms: int | None = None
    #: The next one opens no earlier.
    update_not_before_ms: int = 0
    #: A report was judged that no update in flight or before it covers.
    update_due: bool = False
    #: Number of the last synchronization.
    synchronizations: int = 0
    #: When the synchronization in flight was opened; None: none is.
    synchronization_opened_ms: int | None = None
    #: While it collects: until when.
    deadline_ms: int | None = None
    #: Requests that the synchronization in flight answers.
    joined: tuple[str, ...] = ()
    #: Requests for the next one.
    queued: tuple[str, ...] = ()
    #: Synchronizations that were abandoned since one was completed.
    missed: int = 0

    def opened(self) -> Iterator[tuple[RoundKind, int]]:
        """Yield which kinds are in flight, and since when."""
        for kind, opened_ms in (
            (RoundKind.UPDATE, self.update_opened_ms),
            (RoundKind.SYNCHRONIZATION, self.synchronization_opened_ms),
        ):
            if opened_ms is not None:
                yield kind, opened_ms

    def collects(self, now_ms: int) -> bool:
        """Tell whether a request of now joins the synchronization in flight; else it asks for the next."""
        return self.deadline_ms is not None and now_ms < self.deadline_ms

    def asked(self, now_ms: int) -> tuple[str, ...]:
        """Return the requests that are answered together with one of now."""
        return self.joined if self.collects(now_ms) else self.queued

    def due_ms(self) -> int | None:
        """Return when time alone makes something happen: a closing, a window, an update that had to wait."""
        due = [self.update_not_before_ms] if self.update_due and self.update_opened_ms is None else []
        if self.deadline_ms is not None:
            due.append(self.deadline_ms)
        if self.synchronization_opened_ms is None:
            due.append(self.next_window_ms)
        return min(due, default=None)


@dataclass(frozen=True, slots=True)
class Late:
    """The last health record from after a deadline that no tick has closed yet; None = deregistered."""

    health: InstanceHealth | None
    #: It was deregistered meanwhile: nothing from before holds any more.
    left: bool = False


_LATE = TypeAdapter(Late)
_RECORD = TypeAdapter(Record)


class CollectionState(State):
    """Health, rounds, covers and requests of a partition's federations."""

    def __init__(self, sync_window_ms: int) -> None:
        self._sync_window_ms = sync_window_ms
        self.rounds: Table[Rounds] = Table("rounds", Rounds)
        #: instance_id -> its health; ``judged`` is the last one whose sequence could be read.
        self.health: Table[InstanceHealth] = Table("health", InstanceHealth, encode=Event.encode)
        #: instance_id -> what arrived after the deadline and counts from the closing on.
        self.late: Table[Late] = Table("late", Late, encode=_LATE.dump_json)
        #: instance_id -> the admitted sequence known at the opening, until a newer one answers: of those that
        #: are waited for …
        self.unanswered: Table[int] = Table("unanswered", int)
        #: … and of those that nobody waits for while they are not active.
        self.absent: Table[int] = Table("absent", int)
        #: kind/instance_id -> the last judged sequence that a completed round of the kind covered.
        self.covered: Table[int] = Table("covered", int)
        #: request_id -> append time of the request.
        self.requests: Table[int] = Table("requests", int)
        #: who asks/offset -> a request whose key is not known yet.
        self.waiting: Table[Record] = Table("waiting", Record, encode=_RECORD.dump_json)
        #: Federations whose rounds something has happened to, and when; empty between two steps.
        self.touched: Table[int] = Table("touched", None)
        super().__init__(
            self.rounds,
            self.health,
            self.late,
            self.unanswered,
            self.absent,
            self.covered,
            self.requests,
            self.waiting,
        )

    def touch(self, federation: str, now_ms: int) -> None:
        """Take note that something has happened to the rounds of a federation."""
        self.touched.put(federation, "", max(now_ms, self.touched.get(federation) or 0))

    def ask(self, federation: str, request_id: str, now_ms: int, *, forget_before_ms: int) -> None:
        """Take a request: the synchronization that collects now answers it, or else the next one."""
        for known, at in list(self.requests.of(federation).items()):
            if at < forget_before_ms:
                self.requests.delete(federation, known)
        self.requests.put(federation, request_id, now_ms)
        rounds = self.see(federation, now_ms)
        asked = (*rounds.asked(now_ms), request_id)
        if rounds.collects(now_ms):
            self.change(federation, joined=asked)
        else:
            self.change(federation, queued=asked)
        self.touch(federation, now_ms)

    def change(self, federation: str, **fields: object) -> Rounds:
        """Replace some fields of a federation's rounds, which must exist."""
        rounds = replace(self.rounds.of(federation)[""], **fields)  # type: ignore[arg-type]
        self.rounds.put(federation, "", rounds)
        return rounds

    def see(self, federation: str, append_ms: int) -> Rounds:
        """Return the rounds of a federation; the first window opens a while after it was first seen."""
        rounds = self.rounds.get(federation)
        if rounds is None:
            rounds = Rounds(next_window_ms=append_ms + self._sync_window_ms)
            self.rounds.put(federation, "", rounds)
        return rounds

    def await_answer(self, health: InstanceHealth, known: int) -> None:
        """Wait for a report of an instance that is newer than ``known``, as long as it is active."""
        table = self.unanswered if is_living(health.status) else self.absent
        table.put(health.federation, health.instance_id, known)

    def await_nobody(self, federation: str) -> None:
        """Forget who has not answered."""
        for table in (self.unanswered, self.absent):
            for instance_id in list(table.of(federation)):
                table.delete(federation, instance_id)

    def _answered(self, federation: str, instance_id: str) -> None:
        self.unanswered.delete(federation, instance_id)
        self.absent.delete(federation, instance_id)

    def uncovered(self, kind: RoundKind, health: InstanceHealth) -> bool:
        """Tell whether a report was judged since the last completed round of the kind."""
        sequence = judged_sequence(health)
        covered = self.covered.get(health.federation, f"{kind}/{health.instance_id}")
        return sequence is not None and (covered is None or sequence > covered)

    def put_off(self, federation: str, instance_id: str, health: InstanceHealth | None) -> None:
        """Keep a health record from after a deadline until the closing, in place of one that waits."""
        late = self.late.get(federation, instance_id)
        before = self.health.get(federation, instance_id) if late is None else late.health
        left = health is None or (late is not None and late.left)
        self.late.put(federation, instance_id, Late(_with_judged(health, before), left))

    def update_health(self, federation: str, instance_id: str, health: InstanceHealth | None) -> bool:
        """Take a health record; tell whether it has a report that calls for an update.

        That is one judged that no completed update covers; or one refused before, redriven and admitted now.
        """
        before = self.health.get(federation, instance_id)
        health = _with_judged(health, before)
        if health is None:
            self.health.delete(federation, instance_id)
            self._answered(federation, instance_id)
            for kind in RoundKind:
                self.covered.delete(federation, f"{kind}/{instance_id}")
            return False
        self.health.put(federation, instance_id, health)
        known = self.unanswered.get(federation, instance_id)
        if known is None:
            known = self.absent.get(federation, instance_id)
        if known is not None:
            self._answered(federation, instance_id)
            if health.admitted is None or health.admitted.sequence <= known:
                self.await_answer(health, known)
        if before is not None and judged_sequence(before) == judged_sequence(health):
            return admitted_sequence(before) != admitted_sequence(health)
        return self.uncovered(RoundKind.UPDATE, health)


def _with_judged(health: InstanceHealth | None, before: InstanceHealth | None) -> InstanceHealth | None:
    """Return a health record with the last judged report whose sequence could be read.

    That of the record before, unless a newer one was admitted since: compaction may have removed its record.
    """
    if health is None or before is None or health.judged is None or health.judged.sequence is not None:
        return health
    if (judged_sequence(before) or 0) <= (judged_sequence(health) or 0):
        return health
    return health.model_copy(update={"judged": before.judged})
