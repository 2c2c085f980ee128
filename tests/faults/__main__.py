"""``python -m tests.faults``: run trials and controls, print the report; exit 1 if anything is wrong."""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from pathlib import Path

from tests.faults import controls, plan, schedule, trial
from tests.faults.report import SHOWN, Report
from workers.catalogue import WORKERS

_log = logging.getLogger("tests.faults")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="trials, with the seeds from --first on")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--minutes", type=float, default=2.0, help="for how long faults strike in a trial")
    parser.add_argument("--rate", type=float, default=plan.RATE, help="reports a second")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="text is Markdown")
    parser.add_argument("--no-controls", action="store_true", help="leave the negative controls out")
    parser.add_argument("--keep", type=Path, help="where logs and data go, and stay")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace, directory: Path) -> Report:
    outcomes, seconds = [], arguments.minutes * 60
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        faults = schedule.schedule(seed, seconds, list(WORKERS), plan.instances())
        wanted = plan.Plan(str(seed), seconds, faults, plan.APART, rate=arguments.rate)
        place = directory / f"seed-{seed}"
        place.mkdir(parents=True)
        outcome = await trial.run(wanted, place)
        _log.info("seed %d: %s after %.0f s", seed, "passed" if outcome.passed else "FAILED", outcome.took_s)
        for check in outcome.checks:
            for problem in check.problems[:SHOWN]:
                _log.info("  check %d: %s", check.number, problem)
        outcomes.append(outcome)
    sabotages = () if arguments.no_controls else tuple(controls.CONTROLS)
    return Report(seconds, outcomes, await controls.run(directory, sabotages))


def main() -> int:
    """Run what the arguments ask for."""
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # The clients of the harness lose the broker again and again: that is the point.
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="flc-faults-") as temporary:
        report = asyncio.run(_run(arguments, arguments.keep or Path(temporary)))
    text = json.dumps(report.document(), indent=2) if arguments.format == "json" else report.text()
    sys.stdout.write(text)
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
