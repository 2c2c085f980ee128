"""The page as an ASGI application: its files, the state it begins with, the stream, and what it asks for."""

from mimetypes import guess_type
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from convergence.errors import UnknownRound
from convergence.observation.instances import ORDERS
from convergence.observation.observation import Observation, encoded
from convergence.observer import Observer
from flc.page.access import Access
from flc.page.stream import Sections, events, joined
from schemas.rounds import RoundKind
from workers.runtime.port import BusError

#: Rounds of each list that a page begins with.
ROUNDS = 60

#: Instances in one answer, at most.
MAX_INSTANCES = 100


def static_files() -> dict[str, Response]:
    """Return the files of the page by their path; they are few and small, and stay in memory."""
    root = Path(__file__).with_name("static")
    found = {
        f"/{file.relative_to(root).as_posix()}": Response(
            file.read_bytes(), media_type=guess_type(file.name)[0] or "text/plain"
        )
        for file in root.rglob("*")
        if file.is_file()
    }
    return found | {"/": found["/index.html"]}


class Page:
    """The answers of the page; ``application`` says where they are asked for."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._sections = Sections(observer)
        self._files = static_files()

    async def file(self, request: Request) -> Response:
        """Answer with a file of the page."""
        return self._files.get(request.url.path) or PlainTextResponse("There is nothing here.\n", 404)

    async def state(self, _: Request) -> Response:
        """Answer with the state that a page begins with."""
        rounds = joined(_rounds(self._observer.observation))
        body = b'{"sections":%s,"rounds":%s}' % (joined(self._sections.encoded()), rounds)
        return Response(body, media_type="application/json")

    async def stream(self, request: Request) -> Response:
        """Answer with everything that happens after a round, named by its offset."""
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        if not after.removeprefix("-").isdecimal():
            return PlainTextResponse("`after` is the offset of a round.\n", 400)
        happening = events(self._observer, self._sections, int(after))
        return StreamingResponse(happening, media_type="text/event-stream")

    async def instances(self, request: Request) -> Response:
        """Answer with some of the instances: ``order``, ``match``, ``first``, ``count``."""
        query = request.query_params
        order, first, count = query.get("order", "cost"), query.get("first", "0"), query.get("count", "25")
        if order not in ORDERS or not first.isdecimal() or not count.isdecimal():
            expected = f"order is one of {', '.join(ORDERS)}; first and count are numbers"
            return PlainTextResponse(f"{expected}.\n", 400)
        total, found = self._observer.observation.instances.page(
            order, query.get("match", ""), int(first), min(int(count), MAX_INSTANCES)
        )
        return _json({"total": total, "instances": found})

    async def explained(self, request: Request) -> Response:
        """Answer with the explanation of a round."""
        kind, number = request.path_params["kind"], request.path_params["number"]
        if kind not in set(RoundKind):
            return PlainTextResponse("A round is an update or a synchronization.\n", 400)
        try:
            return _json(await self._observer.explain(RoundKind(kind), number))
        except UnknownRound as unknown:
            return PlainTextResponse(f"{unknown}\n", 404)
        except BusError as error:
            return PlainTextResponse(f"{error}\n", 503)

    async def livez(self, _: Request) -> Response:
        """Answer that the loop runs."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _: Request) -> Response:
        """Answer whether what is shown is current."""
        ready = self._observer.connected
        return PlainTextResponse("ok\n" if ready else "no\n", 200 if ready else 503)


def application(observer: Observer, token: str | None = None) -> Starlette:
    """Return the page of what ``observer`` sees; who asks must know the token, None: be on this machine."""
    page = Page(observer)
    return Starlette(
        routes=[
            Route("/state", page.state),
            Route("/events", page.stream),
            Route("/instances", page.instances),
            Route("/rounds/{kind}/{number:int}", page.explained),
            Route("/livez", page.livez),
            Route("/readyz", page.readyz),
            Route("/{path:path}", page.file),
        ],
        middleware=[Middleware(Access, token=token)],
    )


def _json(value: Any) -> Response:
    return Response(encoded(value), media_type="application/json")


def _rounds(observation: Observation) -> dict[str, bytes]:
    """Return the rounds that a page begins with; what ends after ``cursor`` comes by the stream."""
    points = observation.rounds.points()
    names = ("at_ms", "convergence", "alignment", "variance", "emergence")
    return {
        "cursor": encoded(observation.rounds.last_offset),
        "latest": encoded(observation.rounds.latest(ROUNDS)),
        "synchronizations": encoded(observation.rounds.synchronizations(ROUNDS)),
        "points": encoded({name: [getattr(point, name) for point in points] for name in names}),
    }
