"""Key files."""

from pathlib import Path

import pytest

from convergence.errors import KeyFileError
from convergence.keys import Keys


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    keys.ensure_instance("default", "berlin")
    keys.ensure_operator("default")
    keys.new_federation("default")
    assert _mode(tmp_path / "keys") == 0o700
    names = {path.name: _mode(path) for path in (tmp_path / "keys").iterdir()}
    assert names == {
        "default@berlin.instance-key": 0o600,
        "default.operator-key": 0o600,
        "default.0.federation-key": 0o600,
    }


def test_a_key_is_made_once_and_then_read(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    assert bytes(keys.ensure_instance("default", "berlin")) == bytes(
        keys.ensure_instance("default", "berlin")
    )
    assert bytes(keys.instance("default", "berlin")) != bytes(keys.ensure_instance("default", "paris"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_open_to_others_is_refused_by_name(tmp_path: Path, mode: int) -> None:
    Keys(tmp_path).ensure_operator("default")
    (tmp_path / "default.operator-key").chmod(mode)
    with pytest.raises(KeyFileError, match=f"operator-key is open to others.*{mode:04o}.*chmod 600"):
        Keys(tmp_path).operator("default")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"default@berlin\.instance-key does not exist"):
        Keys(tmp_path).instance("default", "berlin")


@pytest.mark.parametrize("content", ["", "zz", "ab" * 31, "ab" * 33])
def test_a_damaged_key_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "default.operator-key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"is damaged: it must hold 64 hex digits$"):
        Keys(tmp_path).operator("default")


def test_the_federation_key_of_the_highest_epoch_counts(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    made = [keys.new_federation("default") for _ in range(11)]
    keys.new_federation("default.10")
    assert [key.epoch for key in made] == list(range(11))
    assert keys.federation("default") == made[-1]
    assert len({key.secret for key in made}) == 11


def test_a_federation_key_that_is_there_is_kept_and_not_replaced_if_it_cannot_be_read(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    first = keys.ensure_federation("default")
    keys.new_federation("default.10")
    assert keys.ensure_federation("default") == first
    (tmp_path / "default.0.federation-key").chmod(0o644)
    with pytest.raises(KeyFileError, match="is open to others"):
        keys.ensure_federation("default")


def test_without_a_federation_key_the_error_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"copy default\.<epoch>.federation-key"):
        Keys(tmp_path).federation("default")


def test_a_secret_is_not_in_the_repr(tmp_path: Path) -> None:
    key = Keys(tmp_path).new_federation("default")
    assert repr(key) == "FederationKey(epoch=0)"


def test_the_next_key_takes_the_place_of_the_present_one(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    present = bytes(keys.ensure_instance("default", "berlin"))
    following = bytes(keys.ensure_next_instance("default", "berlin"))
    assert following != present
    assert bytes(keys.instance("default", "berlin")) == present
    assert bytes(keys.adopt_next_instance("default", "berlin")) == following
    assert bytes(keys.instance("default", "berlin")) == following
    assert not keys.has_next_instance("default", "berlin")


def test_a_key_that_appears_meanwhile_is_never_overwritten(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    present = bytes(keys.ensure_operator("default"))
    with pytest.raises(KeyFileError, match="never overwritten"):
        keys._create(tmp_path / "default.operator-key")
    assert bytes(keys.operator("default")) == present
    assert [path.name for path in tmp_path.iterdir()] == ["default.operator-key"]
