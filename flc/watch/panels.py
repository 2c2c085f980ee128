"""What an operator sees, as text for a terminal: one function a panel, each of a frozen view."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convergence.observation.explanation import CriterionView, Explanation, words
from convergence.observation.instances import InstanceView
from convergence.observation.lag import LagState
from convergence.observation.observation import Snapshot
from convergence.observation.refusals import RefusalsView
from convergence.observation.rounds import RoundView, RunningRound
from convergence.observation.workers import WorkerView
from flc.output import counted
from schemas.health import Status
from schemas.rounds import RoundKind

#: Characters of a bar.
_BAR = 20

_STATUS = {
    Status.ACTIVE: "green",
    Status.DEGRADED: "yellow",
    Status.INACTIVE: "red",
    Status.UNKNOWN: "dim",
}
_LAG = {
    LagState.OK: "green",
    LagState.WARNING: "yellow",
    LagState.REWOUND: "yellow",
    LagState.STALLED: "red",
    LagState.STOPPED: "red",
}
_OUTCOME = {"converged": "green", "not_converged": "default", "abandoned": "red"}


def verdict(snapshot: Snapshot) -> RenderableType:
    """Return what there is to say first: whether all is well, whether it has converged, and why not."""
    explanation = snapshot.explanation
    if explanation is None:
        return Group(
            Text(f"{snapshot.federation}: nothing has been learned yet.", style="bold"), health(snapshot)
        )
    style = "bold green" if explanation.outcome == "converged" else "bold"
    facts = [
        f"{counted(explanation.cohort, 'instance')} in the cohort",
        counted(explanation.library or 0, "shared pattern"),
        f"{snapshot.patterns.released} released",
    ]
    if explanation.emerged is not None:
        facts.append(f"{explanation.emerged} emerged")
    if snapshot.withheld is not None:
        facts.append(f"{snapshot.withheld} withheld")
    lines: list[RenderableType] = [
        Text(f"{snapshot.federation}: {explanation.sentence}", style=style),
        Text(" · ".join(facts), style="dim"),
        health(snapshot),
        *(Text(_running(one), style="cyan") for one in snapshot.running if one.kind is not RoundKind.UPDATE),
    ]
    if snapshot.abandoned is not None:
        number = snapshot.abandoned.round_id.partition("/")[2]
        lines.append(Text(f"{number}: {snapshot.abandoned.sentence}", style="yellow"))
    return Group(*lines)


def health(snapshot: Snapshot) -> Text:
    """Return the state of workers and instances and what was refused, on one line."""
    troubled = [f"{one.worker} {one.state}" for one in snapshot.workers if one.state is not LagState.OK]
    statuses = [f"{count} {status}" for status, count in snapshot.instances.by_status.items() if count]
    well = snapshot.instances.by_status.get(Status.ACTIVE, 0) == snapshot.instances.total
    refused = snapshot.refusals.records
    return Text.assemble(
        "workers ",
        (", ".join(troubled) or f"{len(snapshot.workers)} ok", "red" if troubled else "green"),
        " · instances ",
        (", ".join(statuses) or "none", "green" if well else "yellow"),
        " · refused ",
        (counted(refused, "record") if refused else "nothing", "yellow" if refused else "green"),
    )


def _running(one: RunningRound) -> str:
    waits = ""
    if one.waits_count:
        more = one.waits_count - len(one.waits_for[:3])
        waits = f", waits for {', '.join(one.waits_for[:3])}" + (f" and {more} more" if more else "")
    return f"{one.kind} {one.number} is in {one.phase}{waits}"


def criteria(explanation: Explanation | None) -> RenderableType:
    """Return the four criteria with their distances, and who costs each unmet one most."""
    table = _table("criterion", ">value", ">threshold", ">distance", "")
    for one in explanation.criteria if explanation else ():
        style = "green" if one.met else "red"
        table.add_row(
            one.name,
            f"{one.value:.4f}",
            f"{one.threshold:.2f}",
            Text(f"{one.distance:+.4f}", style=style),
            Text(_bar(one), style=style),
        )
    return table


def _bar(one: CriterionView) -> str:
    scale = max(2 * one.threshold, one.value) if one.name == "variance" else 1.0
    filled, tick = round(_BAR * one.value / scale), round(_BAR * one.threshold / scale)
    marks = ["━" if place < filled else "╌" for place in range(_BAR)]
    marks[min(tick, _BAR - 1)] = "┃"
    return "".join(marks)


def costs(explanation: Explanation | None) -> RenderableType:
    """Return who costs each unmet criterion most, and who was left out and why."""
    table = _table("what holds it back", "instance", ">costs", "because")
    unmet = [one for one in explanation.criteria if not one.met] if explanation else []
    for one in sorted(unmet, key=lambda each: each.distance):
        if not one.costliest:
            table.add_row(one.name, "", "", "it belongs to the patterns, not to an instance")
        for place, cost in enumerate(one.costliest):
            table.add_row(one.name if place == 0 else "", cost.instance_id, f"{-cost.cost:.4f}", cost.because)
    for dropped in explanation.dropped if explanation else ():
        table.add_row("left out", dropped.instance_id, "", f"{words(dropped.reason)}: {dropped.because}")
    for title, names in (
        ("stragglers", explanation.stragglers if explanation else ()),
        ("no answer", explanation.unacknowledged if explanation else ()),
    ):
        if names:
            table.add_row(title, "", "", ", ".join(names))
    if table.row_count:
        return table
    return Text("Nothing holds it back." if explanation and explanation.criteria else "", style="dim")


def rounds(views: Sequence[RoundView], now_ms: int) -> RenderableType:
    """Return the rounds that ended, the latest first."""
    table = _table("round", ">ended", "outcome", ">convergence", ">alignment", ">took", "phases, ms")
    for view in reversed(views):
        scores = [view.convergence, view.alignment]
        table.add_row(
            f"{view.kind} {view.number}",
            ago(view.ended_ms, now_ms),
            Text(words(view.outcome), style=_OUTCOME[view.outcome]),
            *("-" if score is None else f"{score:.4f}" for score in scores),
            "-" if view.duration_ms is None else f"{view.duration_ms} ms",
            " · ".join(map(str, view.phases_ms)) if view.phases_ms else "; ".join(view.notes),
        )
    return table


def instances(views: Iterable[InstanceView], now_ms: int) -> Table:
    """Return instances, row by row."""
    table = _table(*INSTANCE_COLUMNS)
    for view in views:
        table.add_row(*instance_row(view, now_ms))
    return table


INSTANCE_COLUMNS = (
    "instance",
    "status",
    ">weight",
    ">reliability",
    ">quality",
    ">volume",
    ">alignment",
    ">coverage",
    ">cost",
    ">report",
    "not taken",
)


def instance_row(view: InstanceView, now_ms: int) -> list[Text]:
    """Return the cells of one instance."""
    standing, report = view.standing, view.report
    in_cohort = standing is not None and standing.drop_reason is None
    status = Text(view.status, style=_STATUS[view.status])
    if standing is not None and standing.drop_reason is not None:
        status.append(f" ({words(standing.drop_reason)})", style="yellow")
    elif standing is not None and standing.straggler:
        status.append(" (straggler)", style="yellow")
    refused = ""
    if report is not None:
        refused = ", ".join(f"{count} {words(reason)}" for reason, count in report.rejected.items())
        if report.outcome.startswith("refused:"):
            refused = f"whole: {words(report.outcome.removeprefix('refused:'))}"
    cells = [
        f"{standing.weight if standing is not None and in_cohort else view.weight:.2f}",
        f"{view.reliability:.0%}",
        f"{view.data_quality:.0%}",
        f"{view.volume:.2f}",
        _score(standing.alignment if standing else None),
        _score(standing.coverage if standing else None),
        f"{-standing.cost:.4f}" if standing and standing.cost else "-",
        ago(report.at_ms, now_ms) if report else "-",
        refused,
    ]
    return [Text(view.instance_id), status, *map(Text, cells)]


def workers(views: Sequence[WorkerView], now_ms: int) -> RenderableType:
    """Return the workers: state, lag, who holds how many partitions, last progress."""
    table = _table("worker", "state", ">lag", ">processes", "partitions", ">last commit", ">last progress")
    for view in views:
        trouble = [f"{one.number} {one.state}" for one in view.partitions if one.state is not LagState.OK]
        alike = len({one.state for one in view.partitions}) == 1
        table.add_row(
            view.worker,
            Text(view.state, style=_LAG[view.state]),
            str(view.lag),
            str(view.members),
            f"all {view.state}" if alike else ", ".join(trouble),
            ago(view.last_commit_ms, now_ms),
            "idle" if view.last_progress_ms is None else ago(view.last_progress_ms, now_ms),
        )
    return table


def refusals(view: RefusalsView) -> RenderableType:
    """Return what was refused and why."""
    table = _table("refused", ">how many", "by")
    for reason in view.reasons:
        table.add_row(f"records: {words(reason.reason)}", str(reason.count), ", ".join(reason.stages))
    for row_reason, count in view.rows.items():
        table.add_row(f"rows: {words(row_reason)}", str(count), "privacy")
    return table if table.row_count else Text("Nothing was refused.", style="dim")


def explained(explanation: Explanation) -> RenderableType:
    """Return one round explained."""
    phases = " · ".join(
        f"{one.phase} {'…' if one.duration_ms is None else f'{one.duration_ms} ms'}"
        for one in explanation.phases
    )
    facts = [f"{explanation.cohort} in the cohort, {explanation.quorum} needed"]
    for title, value in (
        ("shared patterns", explanation.library),
        ("released", explanation.released),
        ("emerged", explanation.emerged),
        ("withheld", explanation.withheld),
    ):
        if value is not None:
            facts.append(f"{value} {title}")
    parts: list[RenderableType] = [
        Text(f"{explanation.round_id}: {explanation.sentence}", style="bold"),
        Text(" · ".join(facts), style="dim"),
    ]
    if explanation.criteria:
        parts += [Text(""), criteria(explanation)]
    parts += [Text(""), costs(explanation)]
    if phases:
        parts += [Text(""), Text(phases, style="dim")]
    return Group(*parts)


def whole(
    snapshot: Snapshot, views: Sequence[RoundView], listed: Sequence[InstanceView], now_ms: int
) -> RenderableType:
    """Return everything, one panel under the other."""
    gap = Text("")
    return Group(
        verdict(snapshot),
        gap,
        criteria(snapshot.explanation),
        gap,
        costs(snapshot.explanation),
        gap,
        rounds(views, now_ms),
        gap,
        instances(listed, now_ms),
        gap,
        workers(snapshot.workers, now_ms),
        gap,
        refusals(snapshot.refusals),
    )


def ago(moment_ms: int | None, now_ms: int) -> str:
    """Return how long ago a moment was, in the largest unit that fits."""
    if moment_ms is None:
        return "never"
    seconds = max(0, round((now_ms - moment_ms) / 1_000))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(*columns: str) -> Table:
    """Return an empty table; a column with ``>`` in front stands on the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table
