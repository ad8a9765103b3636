"""Run on a machine: which TCP ports of an address let somebody in, by trying every one of them."""

import asyncio
import json
import sys

WAYS = 400  # at a time
SECONDS = 3


async def is_open(address, port, ways):
    async with ways:
        try:
            _reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), SECONDS)
        except (TimeoutError, OSError):
            return False
        writer.close()
        return True


async def main(address):
    ways = asyncio.Semaphore(WAYS)
    found = await asyncio.gather(*(is_open(address, port, ways) for port in range(1, 65536)))
    print(json.dumps([port for port, is_there in enumerate(found, 1) if is_there]))


asyncio.run(main(sys.argv[1]))
