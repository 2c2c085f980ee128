"""Patterns of real systems, through the whole system: what each scores, and whether the log agrees.

    uv run python benchmarks/real_input.py DIRECTORY [--partitions 6] [--processes 2]

DIRECTORY holds a folder a system, and each folder a file a deployment (JSON lines, as ``flc publish`` takes
them). Each system becomes a federation, each of its files an instance of an organisation of its own. Every
result is recomputed from the log before it is printed.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson

from flc.broker import EmbeddedBroker

FLC = [sys.executable, "-c", "from flc.main import main; main()"]


@contextmanager
def system(partitions: int, processes: int) -> Iterator[dict[str, str]]:
    """Yield the environment in which commands meet a broker of their own, with worker processes."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flc-real-input-")))
        broker = EmbeddedBroker()
        address = asyncio.run(broker.start(directory / "broker"))
        stack.callback(broker.stop)
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": address,
            "FLC_ENROLMENT": "open",
            "FLC_HTTP_PORT": "0",
            "FLC_KEYS_DIRECTORY": str(directory / "keys"),
            "FLC_LOG_LEVEL": "error",
            "FLC_PARTITIONS": str(partitions),
        }
        run(environment, "topics", "apply", "--yes")
        for _ in range(processes):
            worker = subprocess.Popen([*FLC, "worker", "run", "--all"], env=environment)  # noqa: S603
            stack.callback(worker.wait)
            stack.callback(worker.terminate)
        yield environment


def run(environment: dict[str, str], *arguments: str) -> str:
    """Return what a command prints; ends the program if it fails."""
    command = [*FLC, *arguments]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603


def synchronize(environment: dict[str, str], folder: Path) -> None:
    """Publish every file of a folder, synchronize, audit, and print the scores."""
    own = {**environment, "FLC_FEDERATION": folder.name.lower()}
    for file in sorted(folder.glob("*.jsonl")):
        run(own, "publish", str(file), "--instance", file.stem, "--organisation", f"org-{file.stem}")
    event = orjson.loads(run(own, "rounds", "request", "--wait", "--format", "json"))
    shown = orjson.loads(run(own, "rounds", "show", event["round_id"], "--format", "json"))
    run(own, "replay", "--round", event["round_id"])  # fails if the log says something else
    names = ("global_convergence", "pattern_alignment", "global_emergence", "convergence_variance")
    scores = "  ".join(f"{event[name]:.4f} ({shown['global_scores'][name]})" for name in names)
    print(f"{folder.name:12} {scores}  {event['patterns_aggregated']:4}  {event['convergence_achieved']}")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    print("system       convergence, alignment, emergence, variance (micro-units)  library  converged")
    with system(chosen.partitions, chosen.processes) as environment:
        for folder in sorted(path for path in chosen.directory.iterdir() if path.is_dir()):
            synchronize(environment, folder)


if __name__ == "__main__":
    main()
