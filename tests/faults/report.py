"""The report: all figures of all trials, as text (Markdown) or JSON."""

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from flc.broker import VERSION
from tests.faults.checks import NAMES
from tests.faults.controls import CONTROLS, Control
from tests.faults.outcome import Outcome
from tests.faults.sabotage import SABOTAGES
from tests.faults.schedule import A_MINUTE, Kind, every_point, shown
from workers.catalogue import WORKERS

#: So many problems of a check are shown.
SHOWN = 5


@dataclass(frozen=True)
class Report:
    """What was run and what came of it; ``controls`` is empty if none were run."""

    seconds: float
    outcomes: Sequence[Outcome]
    controls: Sequence[Control]

    @property
    def passed(self) -> bool:
        """Whether every trial passed and every control was caught."""
        return all(one.passed for one in self.outcomes) and all(one.caught for one in self.controls)

    def document(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {
            "passed": self.passed,
            "seconds": self.seconds,
            "kafka": VERSION,
            "python": platform.python_version(),
            "faults": [_fault(kind, self.outcomes) for kind in A_MINUTE],
            "crash_points": {
                "reached": len(self._points()),
                "of": len(every_point(list(WORKERS))),
                "not_reached": [
                    f"{worker}:{point}"
                    for worker, point in every_point(list(WORKERS))
                    if (worker, point) not in self._points()
                ],
            },
            "trials": [_trial(one) for one in self.outcomes],
            "controls": [
                {
                    "sabotage": SABOTAGES[one.sabotage].what,
                    "caught": one.caught,
                    "by": [check.number for check in one.failed],
                }
                for one in self.controls
            ],
        }

    def _points(self) -> set[tuple[str, str]]:
        return {
            (struck.planned.target.rpartition("-")[0], struck.planned.detail)
            for outcome in self.outcomes
            for struck in outcome.struck
            if struck.planned.kind is Kind.CRASH and struck.effective
        }

    def text(self) -> str:
        """Return everything as Markdown."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        document = self.document()
        trials = document["trials"]
        seeds = ", ".join(trial["seed"] for trial in trials)
        verdict = "Passed" if self.passed else "FAILED"
        yield f"**{verdict}**: seeds {seeds}, faults for {self.seconds:g} s each, "
        yield f"Apache Kafka {VERSION}, Python {document['python']}."
        yield ""
        points = document["crash_points"]
        caught = f"{sum(one.caught for one in self.controls)}/{len(CONTROLS)}" if self.controls else "not run"
        yield f"Crash points reached: {points['reached']} of {points['of']}. Controls caught: {caught}."
        if points["not_reached"]:
            yield ""
            yield f"Not reached: {', '.join(points['not_reached'])}."
        yield ""
        if self.controls:
            yield from _table(
                [
                    {
                        **one,
                        "caught": "yes" if one["caught"] else "**NO**",
                        "by": ", ".join(map(str, one["by"])),
                    }
                    for one in document["controls"]
                ],
                {"sabotage": "sabotage", "caught": "caught", "by": "by check"},
            )
            yield ""
        if not trials:
            return
        yield from _table(trials, {
            "seed": "seed", "missing": "missing", "extra": "extra", "mismatched": "mismatched",
            "reports": "reports", "updates": "updates", "synchronizations": "synchronizations",
            "rebalances": "rebalances", "fenced": "fenced writes", "failed_tasks": "failed tasks",
            "clean_rate": "reports/s clean", "faulted_rate": "under faults", "ratio": "ratio",
            "peak_mib": "peak MiB of a worker",
        })  # fmt: skip
        yield ""
        yield from _table(document["faults"], {
            "kind": "fault", "planned": "planned", "effective": "effective",
            "recovery_p50_s": "recovery p50 s", "recovery_max_s": "max s",
            "alone_p50_s": "alone p50 s", "alone_max_s": "max s alone",
        })  # fmt: skip
        yield ""
        yield from _table(
            [
                {"check": f"{number}. {name}"}
                | {f"seed {trial['seed']}": _verdict(trial["checks"][number - 1]) for trial in trials}
                for number, name in NAMES.items()
            ],
            {"check": "check"} | {f"seed {trial['seed']}": f"seed {trial['seed']}" for trial in trials},
        )
        for trial in trials:
            for check in trial["checks"]:
                for problem in check["problems"][:SHOWN]:
                    yield f"- seed {trial['seed']}, check {check['number']}: {problem}"
        for outcome, trial in zip(self.outcomes, trials, strict=True):
            yield ""
            yield f"Seed {trial['seed']}, {trial['took_s']:.0f} s, bad input by reason: " + ", ".join(
                f"{reason} {count}" for reason, count in sorted(trial["bad"].items())
            )
            yield ""
            yield "```"
            yield from shown([struck.planned for struck in outcome.struck])
            yield "```"


def _trial(one: Outcome) -> dict[str, Any]:
    return {
        "seed": one.plan.seed,
        "passed": one.passed,
        "missing": one.results.missing,
        "extra": one.results.extra,
        "mismatched": one.results.mismatched,
        "reports": sum(one.admissions.values()),
        "admissions": dict(one.admissions),
        "updates": one.rounds.get("update", 0),
        "synchronizations": one.rounds.get("synchronization", 0),
        "sent": one.sent,
        "resent": one.resent,
        "bad": {reason.value: count for reason, count in one.bad.items()},
        "rebalances": one.rebalances,
        "fenced": one.fenced,
        "failed_tasks": one.failed_tasks,
        "clean_rate": round(one.clean_rate, 1),
        "faulted_rate": round(one.faulted_rate, 1),
        "ratio": round(one.faulted_rate / one.clean_rate, 2) if one.clean_rate else None,
        "peak_mib": round(max(one.peak_bytes.values()) / 2**20),
        "peak_mib_by_process": {name: round(size / 2**20) for name, size in one.peak_bytes.items()},
        "took_s": round(one.took_s, 1),
        "checks": [
            {
                "number": check.number,
                "name": check.name,
                "compared": check.compared,
                "problems": check.problems,
            }
            for check in one.checks
        ],
        "faults": [
            {
                "at_s": struck.planned.at_s,
                "kind": struck.planned.kind.value,
                "target": struck.planned.target,
                "detail": str(struck.planned.detail),
                "duration_s": struck.planned.duration_s,
                "effective": struck.effective,
                "recovery_s": None if struck.recovery_s is None else round(struck.recovery_s, 2),
            }
            for struck in one.struck
        ],
    }


def _fault(kind: Kind, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    struck = [one for outcome in outcomes for one in outcome.struck if one.planned.kind is kind]
    counts = Counter(one.effective for one in struck)
    recovered = [one for one in struck if one.effective and one.recovery_s is not None]
    every = [one.recovery_s for one in recovered if one.recovery_s is not None]
    alone = [one.recovery_s for one in recovered if one.recovery_s is not None and one.planned.alone]
    return {
        "kind": kind.value,
        "planned": len(struck),
        "effective": counts[True],
        "recovery_p50_s": round(median(every), 1) if every else None,
        "recovery_max_s": round(max(every), 1) if every else None,
        "alone_p50_s": round(median(alone), 1) if alone else None,
        "alone_max_s": round(max(alone), 1) if alone else None,
    }


def _verdict(check: dict[str, Any]) -> str:
    problems = len(check["problems"])
    return f"{problems} of {check['compared']} WRONG" if problems else f"{check['compared']} equal"


def _table(rows: Sequence[dict[str, Any]], columns: dict[str, str]) -> Iterator[str]:
    yield "| " + " | ".join(columns.values()) + " |"
    yield "| " + " | ".join("---" for _ in columns) + " |"
    for row in rows:
        yield "| " + " | ".join("-" if row[name] is None else str(row[name]) for name in columns) + " |"
