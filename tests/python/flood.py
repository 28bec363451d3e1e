"""Measures how much the Python example grows while a server floods it with the largest messages that it accepts.

`check` is the server; run by itself, `flood.py ADDRESS` is the client, which prints how many bytes it grew by.
"""

import asyncio
import os
import resource
import subprocess
import sys
from concurrent import futures

import grpc

# Valid in form: fields that a newer server might send.
MESSAGES, FIELD = 100, 100
# How much a subscriber may grow, whatever is sent.
GROWTH_MAX_BYTES = 32 * 1024 * 1024
TIMEOUT_SECONDS = 60


class Flood(grpc.GenericRpcHandler):
    """Answers every call with large messages, and then ends the stream."""

    def __init__(self, message):
        self.message = message

    def service(self, handler_call_details):
        def answers(request, context):
            yield from (self.message for _ in range(MESSAGES))

        return grpc.unary_stream_rpc_method_handler(answers)


def check(expect):
    """Yields the largest accepted message repeatedly."""
    from bounds import within
    from watch import MESSAGE_MAX_BYTES

    message = within(FIELD, bytes(MESSAGE_MAX_BYTES - 16))
    server = grpc.server(futures.ThreadPoolExecutor(1), [Flood(message)], options=[("grpc.max_send_message_length", -1)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "POLICYHUB_TOKEN": "none"}
        client = subprocess.run(
            [sys.executable, __file__, f"http://127.0.0.1:{port}"], env=environment, capture_output=True, text=True,
            timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
    finally:
        server.stop(0)
    expect(client.returncode == 0, f"a flood ends the client: {client.stderr}")
    growth = int(client.stdout)
    expect(growth < GROWTH_MAX_BYTES, f"grows by {growth} bytes under a flood")


async def client(address):
    """Reads one stream to its end and returns by how many bytes the process grew."""
    import watch
    from active_set import ActiveSet
    from hub import JWKS, NAMESPACE
    from signed import read_keys

    options, held = watch.parse(["--server", address, "--jwks", "-"]), ActiveSet(NAMESPACE, read_keys(JWKS))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with watch.open_channel(options) as channel:
        await watch.read_stream(watch.stub_of(channel), options, held)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


if __name__ == "__main__":
    print(asyncio.run(client(sys.argv[1])))
