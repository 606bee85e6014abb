"""The Unrolled server: streams what single-step recurrent cells give, over gRPC.

The life of one token, package by package; each module imports only from those above it:

1. ``address``, ``settings``, ``configuration``, ``errors``
       what may be set, and by whom; how a refusal is said
2. ``snapshots``: ``keys``, ``envelope``, ``snapshot``, ``numerics``
       a session as signed bytes, and whose arithmetic continues it
3. ``graphs``: ``state``, ``sampling``, ``runtime``, ``nodes``, ``branches``, ``draws``, ``fusion``, ``parting``,
   ``flattening``, ``graph``, ``sequence_graph``, ``program``, ``sequence_program``
       what a state is, how a token is chosen; what runs a graph; the cell as one that takes many steps, with the
       sampler or without it; running those
4. ``sessions``: ``arena``, ``history``, ``session``, ``residency``
       a claim on a state, with the inputs to go back by; where the states are
5. ``rows``: ``delivery``, ``finish``, ``slice``, ``trail``, ``row``, ``text_row``, ``sequence_row``
       news; how a call ended; what a slice did; a call's place in the batch, where outputs are tokens and where not
   and ``generation``, ``stops``, ``stream``, ``scoring``, ``reading``, ``drawing``, ``source``
       what a row is for: text, its likelihood, answers, vectors, a context
6. ``models``: ``vocabulary``, ``probe``, ``beginning``, ``shape``, ``bundle_files``, ``golden``, ``assembly``,
   ``bundle``, ``abilities``
       text to tokens; whose arithmetic it is; what sets the first state; a folder proves that it is what it says;
       what can be asked of it
7. ``lanes``: ``table``, ``scheduler``, ``lane``, ``text_lane``, ``sequence_lane``
       the rows that run; which they are, how many steps; five beats: choose, gather, run, deliver, settle
8. ``registry``, ``engine``
       the sessions; whose turn it is

So far everything runs in a plain ``for`` loop. From here on it is asyncio:

9. ``tally``, ``metrics``; ``telemetry``: ``calls``, ``logs``, ``traces``, ``access``
       what operators see; what is known and said of a call
   ``bridge``: ``outbox``, ``driver``, ``workers``
       news that waits for its reader; an engine's thread and the way to it; several of them
10. ``storage``: ``gate``, ``store``, ``scripts``, ``redis_store``, ``custody``, ``keeper``, ``idempotency``
       who has a session, also when a server is gone; keeping it while it streams; calls made twice
11. ``callers``: ``identity``, ``scopes``, ``watched``, ``tokens``, ``claims``, ``authentication``, ``certificates``,
    ``issuing``
       who may call what; the files that say so, read again when they change
12. ``rpc``: ``fields``, ``convert``, ``convert_sequences``, ``status``, ``caller``, ``guard``, and the services
       protobuf to values; errors to google.rpc.Status; who calls, and what nobody gets past
13. ``http``, ``server``, ``configuration_page``, ``cli``
       /metrics, health, start, drain, stop; ``unrolled serve``
"""
