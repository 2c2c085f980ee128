"""Sequences."""

from pathlib import Path

from convergence.sequence import SequenceFile


def _sequence(directory: Path, now_ms: int, stream: str = "reports") -> SequenceFile:
    return SequenceFile(directory, "default@berlin", stream, lambda: now_ms)


def test_a_sequence_is_the_time_and_grows_within_a_millisecond(tmp_path: Path) -> None:
    sequence = _sequence(tmp_path, 1000)
    assert [sequence.take() for _ in range(3)] == [1000, 1001, 1002]


def test_a_restart_never_goes_back_though_the_clock_did(tmp_path: Path) -> None:
    assert _sequence(tmp_path, 5000).take() == 5000
    assert _sequence(tmp_path, 1000).take() == 5001
    assert _sequence(tmp_path, 9000).take() == 9000


def test_streams_are_counted_separately(tmp_path: Path) -> None:
    assert _sequence(tmp_path, 5000, "reports").take() == 5000
    assert _sequence(tmp_path, 1000, "heartbeats").take() == 1000


def test_the_number_is_on_disk_before_it_is_given_out(tmp_path: Path) -> None:
    number = _sequence(tmp_path, 7).take()
    assert int((tmp_path / "default@berlin.reports.sequence").read_text()) == number


def test_a_file_that_a_power_failure_emptied_does_not_keep_an_instance_from_starting(tmp_path: Path) -> None:
    (tmp_path / "default@berlin.reports.sequence").write_bytes(b"")
    assert _sequence(tmp_path, 1000).take() == 1000
