"""``flc rounds``: ask for a synchronization, see what rounds there were, see one to the last digit."""

import asyncio
from typing import Annotated, Any

import typer

from convergence.events import read
from convergence.instances import list_instances
from convergence.observation.explanation import Explanation
from convergence.parts import Parts
from convergence.rounds import RoundRecord, explain_round, show_round
from convergence.topics import everything, partition_of
from flc.connection import connected, operator, settings_for
from flc.noun import noun
from flc.output import FederationOption, Format, FormatOption, encoded_lines, moment, record, rows, say
from flc.output import show as print_out
from flc.subscribe import as_json
from schemas.convergence import RoundAbandoned, RoundEvent, RoundResult
from schemas.rounds import HandOver, RoundKind
from workers.cohort import is_living

app = noun()

#: Columns of ``rounds list``.
_COLUMNS = (
    "round_id",
    "ended",
    "outcome",
    "converged",
    "convergence",
    "alignment",
    "emergence",
    "instances",
    "patterns",
)


@app.command()
def request(
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    federation: FederationOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Request a synchronization; one that is collecting is joined."""
    asyncio.run(_request(wait, federation, form))


async def _request(wait: bool, federation: str | None, form: Format) -> None:
    settings = settings_for(federation)
    async with connected(settings) as bus, operator(bus, settings) as signer:
        if wait:
            say(f"A synchronization of {settings.federation} is requested; waiting for its result …")
        event = await signer.request_synchronization(wait=wait)
    if isinstance(event, str):
        if form is Format.JSON:
            record({"request_id": event}, form)
        else:
            typer.echo(event)
        return
    _print(event, form)
    if isinstance(event, RoundAbandoned):
        raise typer.Exit(1)


def _print(event: RoundEvent, form: Format) -> None:
    if form is Format.JSON or not isinstance(event, RoundResult):
        record(as_json(event), form)
        return
    shown = as_json(event)
    for name in ("instance_scores", "covers", "criteria", "part", "parts"):
        shown.pop(name)
    record(shown, form)
    say("")
    criteria = [criterion.model_dump() for criterion in event.criteria]
    rows(criteria, ("name", "value", "threshold", "met", "distance"), form)
    say("")
    scores = [score.model_dump() for score in event.instance_scores]
    rows(scores, tuple(scores[0]) if scores else (), form)


@app.command("list")
def list_rounds(
    kind: Annotated[RoundKind | None, typer.Option("--kind", help="Of this kind only.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="At most so many, the latest.")] = 20,
    federation: FederationOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the rounds that ended, the latest last."""
    ended = asyncio.run(_ended(federation))
    chosen = [event for event in ended if kind is None or event.kind is kind][-last:]
    rows([_row(event) for event in chosen], _COLUMNS, form)


async def _ended(federation: str | None) -> list[RoundEvent]:
    settings = settings_for(federation)
    async with connected(settings) as bus:
        partition = await partition_of(bus, RoundEvent.topic, settings.federation)
        parts: Parts[RoundEvent] = Parts()
        ended: list[RoundEvent] = []
        async for found in everything(bus, (partition,)):
            event = read(found, RoundResult, RoundAbandoned)
            if event is None or event.federation != settings.federation:
                continue
            if (whole := parts.add(event, found.offset)) is not None:
                ended.append(whole)
        return ended


def _row(event: RoundEvent) -> dict[str, Any]:
    row: dict[str, Any] = {
        "round_id": event.round_id,
        "timestamp": event.timestamp,
        "ended": moment(event.timestamp),
    }
    if isinstance(event, RoundResult):
        row |= {
            "outcome": "completed",
            "converged": event.convergence_achieved,
            "convergence": event.global_convergence,
            "alignment": event.pattern_alignment,
            "emergence": event.global_emergence,
            "instances": event.instance_count,
            "patterns": event.patterns_aggregated,
        }
    elif isinstance(event, RoundAbandoned):
        row |= {"outcome": f"abandoned: {event.reason}", "instances": event.instance_count}
    return row


@app.command()
def show(
    round_id: Annotated[str, typer.Argument(metavar="ID", help="federation/kind/number, or kind/number.")],
    *,
    explain: Annotated[
        bool, typer.Option("--explain", help="Why it ended so: criteria, who costs most, who was left out.")
    ] = False,
    federation: FederationOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show a round as its last phase handed it over: every instance, every score, in micro-units."""
    found, inactive = asyncio.run(_show(round_id, federation))
    if explain:
        _explain(explain_round(found, inactive), form)
        return
    # Of a round that was abandoned in collection there is nothing but what was published.
    event = list(found.hand_overs.values())[-1] if found.hand_overs else found.published[-1]
    document: dict[str, Any] = {"type": type(event).__name__, **event.model_dump(mode="json")}
    if form is Format.JSON or not isinstance(event, HandOver):
        record(document, form)
        return
    columns: dict[str, Any] = document.pop("instances")
    columns |= document.pop("scores", {})
    for name in ("covers", "sums", "part", "parts"):
        document.pop(name, None)
    record(document, form)
    say("")
    instances = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    rows(instances, tuple(columns), form)


def _explain(explanation: Explanation, form: Format) -> None:
    if form is Format.JSON:
        encoded_lines([explanation])
        return
    from flc.watch import panels  # noqa: PLC0415  (rich, 40 ms that a JSON reader need not pay)

    print_out(panels.explained(explanation))


async def _show(round_id: str, federation: str | None) -> tuple[RoundRecord, list[str]]:
    """Return what is known of a round, and which instances are not active now."""
    settings = settings_for(federation)
    whole = round_id if round_id.count("/") > 1 else f"{settings.federation}/{round_id}"
    async with connected(settings) as bus:
        found = await show_round(bus, whole)
        known = await list_instances(bus, whole.partition("/")[0])
    return found, [one.instance_id for one in known if not is_living(one.status)]
