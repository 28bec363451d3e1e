"""A stock grpcio channel with several addresses of a hub, as docs/operations/deploy.md says to make one."""

import json

import grpc
from policyhub.v1 import sync_service_pb2 as pb
from policyhub.v1 import sync_service_pb2_grpc as rpc
from real import Scene, expect

CALL_TIMEOUT_SECONDS = 20
# Nobody listens there: the channel must continue with the next address.
NOBODY = "127.0.0.1:1"


def serve(scene):
    """Starts a hub without TLS on loopback; yields its address and the admin's token."""
    addresses = scene.scratch / "plain" / "addr.json"
    served = ["serve", "--data-dir", "plain", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--console-addr", "off"]
    hub = scene.start([scene.binary, *served], "plain")
    scene.until("the hub listens", lambda: addresses.exists() and addresses.stat().st_size, hub)
    return json.loads(addresses.read_text())["grpc"], (scene.scratch / "plain" / "admin.token").read_text().strip()


def ask(target, token, *options):
    """Returns the status code of a call by a channel with these options."""
    with grpc.insecure_channel(target, options) as channel:
        request = pb.ListActiveRequest(parent="namespaces/default")
        try:
            rpc.SyncServiceStub(channel).ListActive(
                request, metadata=[("authorization", f"Bearer {token}")], timeout=CALL_TIMEOUT_SECONDS
            )
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def check(binary, scratch, stubs):
    """Checks that calls without the option fail, and that calls with it don't."""
    scene = Scene(binary, scratch, stubs)
    try:
        address, token = serve(scene)
        target = f"ipv4:{NOBODY},{address}"
        bare = ask(target, token)
        expect(bare is not grpc.StatusCode.OK, "a list as authority is taken now: say so in docs/operations/deploy.md")
        named = ask(target, token, ("grpc.default_authority", "hub.example"))
        expect(named is grpc.StatusCode.OK, f"several addresses with an authority: {named}")
    finally:
        scene.end()
