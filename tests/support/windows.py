"""How much of a stream a reader takes in that does not read."""

from collections.abc import Sequence

SMALL_WINDOW: Sequence[tuple[str, int]] = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
"""A channel's options that let it take about 1 KiB of a stream that nobody reads, so that its server has to wait.

Without the second one gRPC measures how fast the connection is, and takes in more and more.
"""
