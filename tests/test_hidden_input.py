"""What was wrong with a payload is told without the payload: an error may end up in a log."""

import traceback
from collections.abc import Iterator

import orjson
import pytest
from pydantic import BaseModel, ValidationError

from schemas.catalogue import EVENTS
from schemas.event import Contract
from tests.deployments import context
from workers.catalogue import WORKERS

PAYLOAD = "The Payload"

#: Tables of packed bytes: whatever they hold can be read.
PACKED = {"named", "newer"}


def models(base: type[BaseModel] = Contract) -> Iterator[type[BaseModel]]:
    """Yield every model of the contract: the events, and all that they are made of."""
    for model in base.__subclasses__():
        if model.model_fields:
            yield model
        yield from models(model)


@pytest.mark.parametrize("model", list(models()), ids=lambda model: model.__name__)
def test_an_invalid_payload_is_not_in_the_error(model: type[BaseModel]) -> None:
    inputs = [
        PAYLOAD.encode(),
        orjson.dumps([PAYLOAD]),
        orjson.dumps(dict.fromkeys(model.model_fields, PAYLOAD)),
    ]
    for value in inputs:
        with pytest.raises(ValidationError) as caught:
            model.model_validate_json(value)
        assert PAYLOAD not in "".join(traceback.format_exception(caught.value))


def test_every_event_is_a_model_of_the_contract() -> None:
    assert set(EVENTS.values()) <= set(models())


@pytest.mark.parametrize("worker", WORKERS.values(), ids=lambda worker: worker.name)
def test_a_damaged_row_of_a_changelog_is_not_in_the_error(worker: type) -> None:
    state = worker(context()).state()
    for table in state.tables.values():
        if table.volatile or table.name in PACKED:
            continue
        with pytest.raises(ValueError, match=table.name) as caught:
            table.load("default", "key", orjson.dumps({"status": [PAYLOAD]}))
        assert PAYLOAD not in "".join(traceback.format_exception(caught.value))
