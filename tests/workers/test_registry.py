"""Whose key may register whom, and what a registration replaces."""

from typing import Any

import pytest

from schemas import signing
from schemas.instances import PublicKey
from schemas.reasons import Reason
from tests.deployments import NOW_MS, OPERATOR, Instance, context, key_of
from workers import inbound, registry
from workers.fold import Outcome, Record, Table
from workers.inbound import Address, Refusal
from workers.registry import Change, Registration

ALPHA = Instance()
ADDRESS = Address("default", "alpha")
THIEF = key_of("thief")
OPEN = {"enrolment": "open", "operator_keys": {}}


def fold(table: Table[Registration], record: Record, **settings: Any) -> str:
    result = registry.register(table, record, context(**settings))
    if isinstance(result, Change):
        return "accepted"
    return result.reason if isinstance(result, Refusal) else result


def may_sign(table: Table[Registration], key_id: str, now_ms: int = NOW_MS) -> Reason | None:
    return registry.key_of_instance(table)(ADDRESS, "Heartbeat", key_id, now_ms)


def test_the_operator_enrols() -> None:
    table = registry.registrations()
    assert fold(table, ALPHA.registered()) == "accepted"
    assert may_sign(table, ALPHA.public_key) is None


def test_nobody_enrols_itself_where_the_operator_does() -> None:
    assert fold(registry.registrations(), ALPHA.registered(by=ALPHA.signing_key)) is Reason.UNKNOWN_KEY


def test_nobody_is_enrolled_in_a_federation_without_an_operator() -> None:
    foreign = Instance(federation="nobodys")
    assert fold(registry.registrations(), foreign.registered()) is Reason.UNKNOWN_KEY


def test_an_enrolment_that_is_not_higher_is_ignored() -> None:
    table = registry.registrations()
    fold(table, ALPHA.registered(5))
    assert fold(table, ALPHA.registered(5, organisation="other")) is Outcome.DUPLICATE
    assert fold(table, ALPHA.registered(4)) is Outcome.STALE
    stored = table.get("default", "alpha")
    assert stored is not None
    assert stored.registered.organisation == "acme"


def test_two_keys_overlap_in_a_rotation_and_then_the_old_one_is_revoked() -> None:
    table = registry.registrations()
    old, new = ALPHA.public_key, signing.public_key(key_of("new"))
    fold(table, ALPHA.registered(1))
    fold(table, ALPHA.registered(2, public_keys=[{"key": old}, {"key": new, "not_before_ms": NOW_MS + 10}]))
    assert may_sign(table, old) is None
    assert may_sign(table, new) is Reason.KEY_NOT_VALID
    assert may_sign(table, new, NOW_MS + 10) is None
    fold(table, ALPHA.registered(3, public_keys=[{"key": old, "revoked": True}, {"key": new}]))
    assert may_sign(table, old) is Reason.REVOKED_KEY
    assert may_sign(table, new) is None


def test_a_key_ends() -> None:
    keys = (PublicKey(key="a" * 64, not_after_ms=5),)
    assert inbound.registered_key(keys, "a" * 64, 5) is None
    assert inbound.registered_key(keys, "a" * 64, 6) is Reason.KEY_NOT_VALID


def test_a_deregistered_instance_signs_nothing_until_a_higher_enrolment() -> None:
    table = registry.registrations()
    fold(table, ALPHA.registered(1))
    assert fold(table, ALPHA.deregistered(2)) == "accepted"
    assert may_sign(table, ALPHA.public_key) is Reason.UNKNOWN_INSTANCE
    assert fold(table, ALPHA.registered(2)) is Outcome.DUPLICATE
    assert fold(table, ALPHA.registered(3)) == "accepted"
    assert may_sign(table, ALPHA.public_key) is None


def test_who_is_not_there_cannot_leave() -> None:
    assert fold(registry.registrations(), ALPHA.deregistered()) is Reason.UNKNOWN_INSTANCE


def test_in_open_enrolment_the_first_to_come_is_kept() -> None:
    table = registry.registrations()
    assert fold(table, ALPHA.registered(1, by=ALPHA.signing_key), **OPEN) == "accepted"
    theft = Instance(key=THIEF).registered(2, by=THIEF)
    assert fold(table, theft, **OPEN) is Reason.ENROLMENT_TAKEN
    assert fold(table, ALPHA.registered(2, by=ALPHA.signing_key), **OPEN) == "accepted"


def test_in_open_enrolment_the_first_registration_is_signed_by_a_key_in_it() -> None:
    assert fold(registry.registrations(), ALPHA.registered(by=THIEF), **OPEN) is Reason.UNKNOWN_KEY


def test_in_open_enrolment_an_id_is_not_taken_over_after_its_instance_left() -> None:
    table = registry.registrations()
    fold(table, ALPHA.registered(1, by=ALPHA.signing_key), **OPEN)
    assert fold(table, ALPHA.deregistered(2, by=ALPHA.signing_key), **OPEN) == "accepted"
    assert fold(table, Instance(key=THIEF).registered(3, by=THIEF), **OPEN) is Reason.ENROLMENT_TAKEN


@pytest.mark.parametrize("deregistered", [False, True])
def test_the_table_comes_back_from_its_changelog(*, deregistered: bool) -> None:
    table, restored = registry.registrations(), registry.registrations()
    fold(table, ALPHA.registered(1, by=OPERATOR))
    if deregistered:
        fold(table, ALPHA.deregistered(2))
    for federation, key, value in table.changes():
        restored.load(federation, key, value)
    assert restored.of("default") == table.of("default")
