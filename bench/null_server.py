"""The roof of the transport: a grpc.aio server that writes ready-made messages as fast as it can (RT).

It answers Generate calls with text from nowhere; the request's ``model`` says how many messages to cut it into. One
write at a time on each stream, as in the real server. ``python -m bench.null_server`` prints its address.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from functools import lru_cache
from itertools import pairwise

import grpc

from bench.wire import GENERATE, write_chunk, write_finish
from unrolled.v1.generation_pb2 import GenerateRequest


@lru_cache
def _messages(prompt_tokens: int, length: int, pieces: int) -> list[bytes]:
    borders = [length * i // pieces for i in range(pieces + 1)]
    chunks = [write_chunk("x" * (end - begin), prompt_tokens + end) for begin, end in pairwise(borders) if end > begin]
    return [*chunks, write_finish(prompt_tokens + length)]


async def _generate(request: GenerateRequest, _: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
    for message in _messages(len(request.prompt), request.max_tokens, int(request.model)):
        yield message


async def _serve() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", 4096)])
    _, service, method = GENERATE.split("/")
    handler = grpc.unary_stream_rpc_method_handler(_generate, request_deserializer=GenerateRequest.FromString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(_serve())
