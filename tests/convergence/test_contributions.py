"""What was accepted of an instance, as a person reads it."""

from convergence.connection import connect
from convergence.contributions import contributed
from convergence.deployment import Deployment
from convergence.patterns import Pattern
from workers.settings import Settings

STRONG = Pattern("a", "usage", 0.9, 0.8, 0.95, 3)
WEAK = Pattern("b", "usage", 0.9, 0.8, 0.5, 3)


async def test_the_accepted_rows_of_the_last_report_alone_are_read() -> None:
    async with (
        connect(Settings(_env_file=None)) as (bus, settings),
        Deployment(bus, settings, "berlin", "acme") as berlin,
        Deployment(bus, settings, "oslo", "acme") as oslo,
    ):
        await berlin.publish([STRONG, Pattern("c", "usage")])
        await oslo.publish([Pattern("d", "usage")])
        update = await berlin.publish([STRONG, WEAK])
        (row,) = await contributed(bus, settings.federation, "berlin")
    assert row.pop("sequence") == update.sequence
    assert len(row.pop("signature_id")) == 32
    assert row == {
        "pattern_type": "usage",
        "strength": 0.9,
        "resonance": 0.8,
        "epistemic_certainty": 0.95,
        "frequency": 3,
    }


async def test_of_an_instance_that_nobody_knows_there_is_nothing() -> None:
    async with connect(Settings(_env_file=None)) as (bus, settings):
        assert await contributed(bus, settings.federation, "nobody") == []
