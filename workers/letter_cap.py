"""The cap on dead letters: nobody fills the bus, or hides a letter among others, by sending what is refused.

Of each topic of a partition and each reason, 100 records a minute of broker time get a letter of their own.
The rest of the minute gets one letter together, with their number and the range of their offsets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from schemas.dead_letters import DeadLetter
from schemas.reasons import Reason
from workers.fold import Emit, Record, S, State, Step, Table, Worker
from workers.version import code_version

#: Letters of their own that records get in a minute.
LETTERS_A_MINUTE = 100

_MINUTE_MS = 60_000
_TABLE = "refused"


@dataclass(frozen=True, slots=True)
class Refused:
    """What was refused of a topic for a reason in a minute, the last one in which anything was."""

    #: Minute of broker time; 0: of bytes that nobody can decode no time is known.
    minute: int
    #: Letters that were written, at most 100.
    letters: int
    #: Records beyond them, their bytes, the first one's append time and their range of offsets.
    count: int = 0
    size: int = 0
    append_ms: int = 0
    first_offset: int = 0
    last_offset: int = 0

    def add(self, letter: DeadLetter) -> "Refused":
        """Return it with one more record beyond the letters."""
        first = {} if self.count else {"first_offset": letter.source_offset, "append_ms": letter.append_ms}
        count, size = self.count + 1, self.size + letter.length
        return replace(self, count=count, size=size, last_offset=letter.source_offset, **first)


def capped(kind: type[Worker[S]]) -> type[Worker[S]]:
    """Return the worker with a cap on the letters that it writes."""

    class Capped(kind):  # type: ignore[misc, valid-type]  # mypy knows no class that is a value
        def state(self) -> S:
            state: S = super().state()
            state.tables[_TABLE] = Table(_TABLE, Refused)
            return state

        def step(self, state: S, records: Sequence[Record]) -> Step:
            return self._cap(state, super().step(state, records))

        def deadline(self, state: S) -> int | None:
            ends = [(row.minute + 1) * _MINUTE_MS for row in _table(state).of("").values()]
            own = super().deadline(state)
            return min(ends if own is None else [*ends, own], default=None)

        def tick(self, state: S, now_ms: int) -> Step:
            step = Step()
            due = super().deadline(state)
            if due is not None and due <= now_ms:
                step = self._cap(state, super().tick(state, now_ms))
            step.emits += _minute_ended(self, state, now_ms)
            return step

        def _cap(self, state: S, step: Step) -> Step:
            if any(isinstance(emit.event, DeadLetter) for emit in step.emits):
                step.emits = [kept for emit in step.emits for kept in _kept(self, state, emit)]
            return step

    Capped.__name__, Capped.__doc__ = kind.__name__, kind.__doc__
    return Capped


def _table(state: State) -> Table[Refused]:
    return state.tables[_TABLE]


def _kept(worker: Worker[S], state: S, emit: Emit) -> Iterator[Emit]:
    """Yield what is published in place of one emit."""
    letter, rows = emit.event, _table(state)
    if not isinstance(letter, DeadLetter):
        yield emit
        return
    key = f"{letter.source_topic}/{letter.reason}"
    row = rows.get("", key)
    minute = letter.append_ms // _MINUTE_MS
    if row is None or minute > row.minute:
        if row is not None and row.count:
            yield _together(worker, key, row, emit.time_ms)
        row = Refused(minute, letters=0)
    if row.letters < LETTERS_A_MINUTE:
        rows.put("", key, replace(row, letters=row.letters + 1))
        yield emit
    else:
        rows.put("", key, row.add(letter))


def _minute_ended(worker: Worker[S], state: S, now_ms: int) -> Iterator[Emit]:
    """Yield the letters of the minutes that are over: all their records have been read."""
    rows, this = _table(state), now_ms // _MINUTE_MS
    for key, row in sorted(rows.of("").items()):
        if row.minute == 0:
            rows.put("", key, replace(row, minute=this))
        elif row.minute < this:
            rows.delete("", key)
            if row.count:
                yield _together(worker, key, row, now_ms)


def _together(worker: Worker[S], key: str, row: Refused, time_ms: int) -> Emit:
    topic, _, reason = key.partition("/")
    context = worker.context
    letter = DeadLetter(
        federation=None,
        reason=Reason(reason),
        stage=worker.name,
        source_topic=topic,
        source_partition=context.partition,
        source_offset=row.first_offset,
        last_offset=row.last_offset,
        count=row.count,
        length=row.size,
        digest="",
        append_ms=row.append_ms,
        version=code_version(),
    )
    place = f"{topic}/{context.partition}/{row.first_offset}"
    partition = context.partition % context.partitions[DeadLetter.topic]
    identity = f"{place}-{row.last_offset}/{reason}"
    return Emit(DeadLetter.topic, partition, place, letter, identity, time_ms)
