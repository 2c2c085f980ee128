"""The HTTP port of a process."""

import asyncio

from tests.runtime.toys import World, told
from workers.runtime.http import application, serving


async def get(port: int, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


async def test_a_process_answers_for_itself() -> None:
    world = World()
    process = world.process()
    async with serving(application(process), "127.0.0.1", 0) as port:
        assert (await get(port, "/livez"))[0] == 200
        assert (await get(port, "/readyz"))[0] == 503
        async with world.running() as running, serving(application(running), "127.0.0.1", 0) as other:
            world.say(1)
            await told(world, 1)
            assert (await get(other, "/readyz"))[0] == 200
            assert '"0":"running"' in (await get(other, "/info"))[1]
            status, text = await get(other, "/metrics")
            assert status == 200
            assert 'flc_records_read_total{topic="flc.numbers.v1",worker="adder"} 1.0' in text
