"""An example subscriber, in any language, with a real server: every driver that runs one as a command."""

import pathlib
import tempfile

import drill
import killed
import real


def check(binary, example):
    """Runs the drivers with the command `example`; returns a summary. Exits on any difference."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name in ("real", "killed"):
            (scratch / name).mkdir()
        changes = real.check(binary, scratch / "real", scratch, example)
        killed.check(binary, scratch / "killed", scratch, example)
        followers = drill.check(binary, scratch / "drill", scratch, example)
    return (
        f"{changes} changes of a real server were printed as `policyhub watch` heard them; killed, it went on from what it had saved; "
        f"{followers} pinned subscribers followed two rotations and a revocation"
    )
