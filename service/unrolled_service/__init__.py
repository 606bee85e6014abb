"""The Unrolled server: streams what single-step recurrent cells give, over gRPC.

The life of one token, package by package; each module imports only from those above it:

1. ``address``, ``settings``, ``configuration``, ``errors``, ``watched``
       what may be set, and by whom; how a refusal is said; the files that say more, read again when they change
2. ``tenants``: ``allowance``, ``budget``, ``terms``, ``occupancy``, ``quotas``
       how much a caller may have, and on whose account a call runs
3. ``snapshots``: ``keys``, ``envelope``, ``snapshot``, ``numerics``
       a session as signed bytes, and whose arithmetic continues it
4. ``graphs``: ``state``, ``sampling``, ``runtime``, ``nodes``, ``branches``, ``draws``, ``fusion``, ``parting``,
   ``flattening``, ``graph``, ``sequence_graph``, ``program``, ``sequence_program``, ``rehearsal``
       what a state is, how a token is chosen; what runs a graph; the cell as one that takes many steps, with the
       sampler or without it; running those
5. ``sessions``: ``arena``, ``history``, ``session``, ``residency``, ``holdings``
       a claim on a state, with the inputs to go back by; where the states are; who makes room for others
6. ``rows``: ``delivery``, ``finish``, ``slice``, ``trail``, ``row``, ``text_row``, ``sequence_row``
       news; how a call ended; what a slice did; a call's place in the batch, where outputs are tokens and where not
   and ``generation``, ``stops``, ``stream``, ``scoring``, ``reading``, ``drawing``, ``source``
       what a row is for: text, its likelihood, answers, vectors, a context
7. ``models``: ``vocabulary``, ``probe``, ``beginning``, ``shape``, ``limits``, ``operators``, ``inspection``,
   ``bundle_files``, ``contents``, ``golden``, ``assembly``, ``bundle``, ``trial``, ``abilities``
       text to tokens; whose arithmetic it is; what sets the first state; how large and odd a folder may be; it proves
       that it is what it says, a stranger's first in a process of its own; what can be asked of it
8. ``lanes``: ``table``, ``line``, ``pace``, ``places``, ``scheduler``, ``lane``, ``text_lane``, ``sequence_lane``
       the rows that run; who waits, how long slices take, whose turn it is, how many steps; five beats: choose, gather,
       run, deliver, settle
9. ``registry``, ``lineup``, ``opening``, ``session_calls``, ``stream_calls``, ``engine``
       the sessions; the lanes there are; how a call begins; what is asked of sessions; the calls that run; whose turn

So far everything runs in a plain ``for`` loop. From here on it is asyncio:

10. ``tally``, ``metrics``; ``telemetry``: ``outlines``, ``calls``, ``logs``, ``traces``, ``access``
       what operators see; what is known and said of a call
    ``bridge``: ``outbox``, ``driver``, ``workers``, ``catalog``, ``completion``
       news that waits for its reader; an engine's thread and the way to it; several of them; the bundles that come and
       go while they run; work that outlives its caller
11. ``storage``: ``gate``, ``store``, ``scripts``, ``redis_store``, ``custody``, ``keeper``, ``idempotency``
       who has a session, also when a server is gone; keeping it while it streams; calls made twice
12. ``callers``: ``identity``, ``scopes``, ``tokens``, ``claims``, ``authentication``, ``certificates``,
    ``issuing``
       who may call what, and the files that say so
13. ``rpc``: ``fields``, ``convert``, ``convert_sequences``, ``chunks``, ``status``, ``caller``, ``guard``, and the
    services
       protobuf to values; errors to google.rpc.Status; who calls, and what nobody gets past
14. ``http``, ``descriptors``, ``garbage``, ``server``, ``configuration_page``, ``cli``
       /metrics, room for connections, when garbage is collected, health, start, drain, stop; ``unrolled serve``
"""
