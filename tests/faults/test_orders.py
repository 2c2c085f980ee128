"""An order to die comes true where it should, and for one process only."""

import os
import signal
from pathlib import Path

import pytest

from tests.faults import orders
from workers.runtime.crash import CrashPoint


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[signal.Signals]:
    """Let the process survive; return what it would have sent itself."""
    sent: list[signal.Signals] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(orders, "_deaths", {})
    monkeypatch.setattr(os, "kill", lambda _, how: sent.append(how))
    return sent


def test_of_all_that_are_told_the_same_claim_only_the_first_dies(signals: list[signal.Signals]) -> None:
    orders.take("kill privacy after_publish a-claim")
    orders.ObedientCrash().reached("privacy", CrashPoint.AFTER_PUBLISH)
    assert signals == [signal.SIGKILL]

    orders.take("kill privacy after_publish a-claim")
    orders.ObedientCrash().reached("privacy", CrashPoint.AFTER_PUBLISH)
    assert signals == [signal.SIGKILL]


def test_an_order_holds_for_its_worker_and_its_point_and_once(signals: list[signal.Signals]) -> None:
    orders.take("stop privacy before_publish")
    crash = orders.ObedientCrash()
    crash.reached("health", CrashPoint.BEFORE_PUBLISH)
    crash.reached("privacy", CrashPoint.AFTER_COMMIT)
    assert signals == []

    crash.reached("privacy", CrashPoint.BEFORE_PUBLISH)
    crash.reached("privacy", CrashPoint.BEFORE_PUBLISH)
    assert signals == [signal.SIGSTOP]
