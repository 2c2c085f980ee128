"""The job in faust-streaming: python faust_app.py BOOTSTRAP SOURCE TARGET GROUP DIRECTORY.

Exactly once. The app consumes its own output, too: for a topic that it does not consume, faust silently sends
outside of the transactions.
"""

import sys
from typing import Any

import faust
import orjson
from job import BUCKETS, split, verified

BOOTSTRAP, SOURCE, TARGET, GROUP, DIRECTORY = sys.argv[1:]

app = faust.App(
    GROUP,
    broker=f"kafka://{BOOTSTRAP}",
    datadir=DIRECTORY,
    store="memory://",
    processing_guarantee="exactly_once",
    consumer_auto_offset_reset="earliest",
    topic_partitions=BUCKETS,
    topic_replication_factor=1,
    value_serializer="raw",
    key_serializer="raw",
    web_enabled=False,
)
reports = app.topic(SOURCE, value_serializer="raw", key_serializer="raw")
contributions = app.topic(TARGET, value_serializer="raw", key_serializer="raw")
sequences = app.Table(f"{GROUP}-sequences", default=int, key_type=bytes, partitions=BUCKETS)


@app.agent(reports)
async def judge(stream: Any) -> None:
    """Send what reports contribute to each bucket."""
    async for event in stream.events():
        if not verified(event.value, event.headers):
            continue
        sequence, several = split(event.value, sequences[event.key])
        if several:
            sequences[event.key] = sequence
        for each in several:
            await contributions.send(key=b"%d" % each["bucket"], value=orjson.dumps(each))


@app.agent(contributions)
async def consume(stream: Any) -> None:
    """Take note of contributions, so that they are sent in transactions."""
    async for _ in stream:
        pass


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "-l", "error", "--without-web"]
    app.main()
