"""The page's server: its answers, its stream, and who gets in."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from convergence.patterns import Pattern
from flc.page import application
from flc.page.access import POLICY
from flc.page.serving import page
from tests.convergence.federation import new_settings
from tests.observation.live import NAMES, FlakyBus, new_bus, synchronized, working
from tests.page.client import Happened, ask, listening
from workers.runtime.failures import Misconfigured
from workers.settings import Settings

STATIC = Path(application.__file__).with_name("static")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return new_settings(
        tmp_path, release_threshold=2, collection_deadline_ms=2_000, page_address="127.0.0.1:0"
    )


@pytest.fixture
async def bus(settings: Settings) -> AsyncIterator[FlakyBus]:
    async with working(settings) as bus:
        yield bus


async def rounds_until(happening: AsyncIterator[Happened], offset: int) -> list[int]:
    """Return the offsets of the rounds that a stream tells of, up to one."""
    found: list[int] = []
    while offset not in found:
        event = await anext(happening)
        if event.event == "round":
            assert event.id == event.data["offset"]
            found.append(event.data["offset"])
    return found


async def test_the_page_and_its_parts_are_there_and_nothing_else(bus: FlakyBus, settings: Settings) -> None:
    async with page(bus, settings) as (_, url):
        answer = await ask(url, "/")
        assert answer.status == 200
        assert b"<title>" in answer.body
        for file in ("/page.js", "/page.css", "/vendor/uPlot.iife.min.js"):
            assert (await ask(url, file)).status == 200
        for path in ("/../settings.py", "/static/page.js", "/rounds/other/1", "/nothing"):
            assert (await ask(url, path)).status in {400, 404}


async def test_every_answer_forbids_what_the_page_does_not_need(bus: FlakyBus, settings: Settings) -> None:
    async with page(bus, settings) as (_, url):
        for path in ("/", "/state", "/instances", "/nothing"):
            answer = await ask(url, path)
            assert answer.headers["content-security-policy"] == POLICY
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await ask(url, "/", "POST")).status == 405


async def test_a_round_that_ends_comes_by_the_stream(bus: FlakyBus, settings: Settings) -> None:
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        begun = (await ask(url, "/state")).json
        async with listening(url, f"/events?after={begun['rounds']['cursor']}") as happening:
            result = await synchronized(bus, settings)
            async for event in happening:
                if event.event == "round" and event.data["kind"] == "synchronization":
                    assert event.data["convergence"] == result.global_convergence
                    break


async def test_a_stream_resumes_without_gap_or_repeat_also_at_another_server(
    bus: FlakyBus, settings: Settings
) -> None:
    await synchronized(bus, settings)
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        every = [view.offset for view in observer.observation.rounds.after(-1) or ()]
        assert len(every) > 1
        async with listening(url, "/events?after=-1") as happening:
            assert await rounds_until(happening, every[0]) == every[:1]
        async with listening(url, "/events?after=-1", Last_Event_ID=str(every[0])) as happening:
            assert await rounds_until(happening, every[-1]) == every[1:]
    await synchronized(bus, settings)
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        later = [view.offset for view in observer.observation.rounds.after(every[-1]) or ()]
        async with listening(url, "/events?after=-1", Last_Event_ID=str(every[-1])) as happening:
            assert await rounds_until(happening, later[-1]) == later


async def test_who_comes_with_the_place_of_another_log_begins_anew(bus: FlakyBus, settings: Settings) -> None:
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        async with listening(url, "/events?after=5000") as happening:
            assert [event.event async for event in happening] == ["reset"]
        assert (await ask(url, "/events?after=yesterday")).status == 400


async def test_the_first_sections_are_whole_and_later_ones_only_what_changed(
    bus: FlakyBus, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flc.page.stream.BEAT_S", 0.1)
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        async with listening(url, f"/events?after={observer.observation.rounds.last_offset}") as happening:
            events = [await anext(happening) for _ in range(2)]
            assert set(events[0].data) == set((await ask(url, "/state")).json["sections"])
            assert events[1].event == "beat"
            assert events[1].data["connected"] is True
            observer.observation.as_of_ms = 7
            observer._change()
            later = await anext(happening)
            while later.event != "sections":
                later = await anext(happening)
            assert "as_of_ms" in later.data
            assert "patterns" not in later.data


async def test_instances_come_a_page_at_a_time(bus: FlakyBus, settings: Settings) -> None:
    await synchronized(bus, settings)
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        answer = (await ask(url, "/instances?order=name&first=1&count=1")).json
        assert (answer["total"], [one["instance_id"] for one in answer["instances"]]) == (3, ["paris"])
        assert (await ask(url, "/instances?match=rom")).json["total"] == 1
        for wrong in ("order=colour", "first=-1", "count=many"):
            assert (await ask(url, f"/instances?{wrong}")).status == 400


async def test_a_round_is_explained_and_an_unknown_one_is_said_to_be(
    bus: FlakyBus, settings: Settings
) -> None:
    await synchronized(bus, settings)
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        answer = await ask(url, "/rounds/synchronization/1")
        assert [one["name"] for one in answer.json["criteria"]] == [
            "convergence",
            "alignment",
            "variance",
            "emergence",
        ]
        assert (await ask(url, "/rounds/synchronization/77")).status == 404


async def test_nothing_below_the_release_threshold_is_on_any_address(
    bus: FlakyBus, settings: Settings
) -> None:
    secrets = [Pattern(f"s{n}", "secretive", 0.9, 0.9, 0.95, 3, (f"secret{n}",)) for n in range(3)]
    await synchronized(bus, settings, {NAMES[0]: secrets})
    reported: set[str] = set()
    for at in bus.log.partitions_of(["flc.reports.v1"]):
        for record in bus.log.records(at):
            reported.update(json.loads(record.value or b"{}")["signature_id"])
    async with page(bus, settings) as (observer, url):
        await observer.current.wait()
        text = b""
        for path in ("/state", "/instances", "/rounds/synchronization/1", "/rounds/update/1"):
            answer = await ask(url, path)
            assert answer.status == 200
            text += answer.body
        async with listening(url, "/events?after=-1") as happening:
            seen = [await anext(happening) for _ in range(4)]
            text += json.dumps([event.data for event in seen]).encode()
    shown = {signature for signature in reported if signature.encode() in text}
    assert len(reported) == 8
    assert len(shown) == 5
    assert b"secretive" not in text


async def test_a_foreign_name_for_this_machine_does_not_get_in(bus: FlakyBus, settings: Settings) -> None:
    async with page(bus, settings) as (_, url):
        assert (await ask(url, "/state", Host="evil.example")).status == 403
        assert (await ask(url, "/state", Host="localhost")).status == 200


async def test_beyond_this_machine_it_does_not_listen_without_a_token(
    bus: FlakyBus, settings: Settings
) -> None:
    open_to_all = settings.model_copy(update={"page_address": "0.0.0.0:0"})
    with pytest.raises(Misconfigured, match="FLC_PAGE_TOKEN"):
        async with page(bus, open_to_all):
            pass


async def test_with_a_token_only_who_knows_it_gets_in(bus: FlakyBus, settings: Settings) -> None:
    guarded = settings.model_copy(update={"page_token": SecretStr("open sesame")})
    async with page(bus, guarded) as (_, url):
        assert (await ask(url, "/state")).status == 401
        assert (await ask(url, "/state", Authorization="Bearer wrong")).status == 401
        assert (await ask(url, "/state", Authorization="Bearer open sesame")).status == 200
        answer = await ask(url, "/?token=open%20sesame")
        assert (answer.status, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert (await ask(url, "/state", Cookie=cookie.partition(";")[0])).status == 200
        assert (await ask(url, "/livez")).status == 200


async def test_while_the_bus_is_away_it_is_not_ready_but_lives(settings: Settings) -> None:
    bus = await new_bus()
    bus.away = True
    async with page(bus, settings) as (_, url):
        assert (await ask(url, "/readyz")).status == 503
        assert (await ask(url, "/livez")).status == 200


def test_all_scripts_together_are_small() -> None:
    assert sum(file.stat().st_size for file in STATIC.rglob("*.js")) <= 100_000


def test_the_page_loads_nothing_from_elsewhere_and_has_nothing_inline() -> None:
    html = (STATIC / "index.html").read_text()
    assert "://" not in html
    assert "<style" not in html
    assert 'style="' not in html
    assert html.count("<script") == html.count("<script src=") + html.count('<script type="module" src=')
