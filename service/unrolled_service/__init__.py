"""The Unrolled server: streams what single-step recurrent cells give, over gRPC.

The life of one token, module by module; each module imports only from those above it:

1. ``settings``, ``configuration``, ``errors``
                                          what may be set, and by whom; how a refusal is said
2. ``vocabulary``, ``sampling``, ``keys``, ``envelope``, ``snapshot``, ``numerics``
                                          text to tokens; how a token is chosen; a session as signed bytes,
                                          and whose arithmetic continues it
3. ``arena``                              slots of state memory
4. ``runtime``, ``nodes``, ``branches``, ``draws``, ``fusion``, ``parting``, ``flattening``, ``graph``
                                          what runs a graph; the cell as one that takes many steps, with the
   ``sequence_graph``, ``program``, ``sequence_program``
                                          sampler or without it; running those
5. ``history``, ``session``               a claim on a state, with the inputs to go back by
   ``delivery``, ``finish``, ``slice``    news; how a call ended; what a slice did
   ``trail``, ``row``, ``text_row``, ``sequence_row``
                                          a call's place in the batch: where outputs are tokens, and where not
6. ``generation``, ``stops``, ``stream``, ``scoring``, ``reading``, ``drawing``, ``source``
                                          what a row is for: text, its likelihood, answers, vectors, a context
7. ``probe``, ``beginning``               whose arithmetic it is; what sets the first state
   ``shape``, ``bundle_files``, ``golden``, ``assembly``, ``bundle``, ``abilities``
                                          a folder proves that it is what it says; what can be asked of it
8. ``residency``                          where sessions' states are
   ``table``, ``scheduler``               the rows that run; which they are, how many steps
9. ``lane``, ``text_lane``, ``sequence_lane``, ``registry``, ``engine``
                                          five beats: choose, gather, run, deliver, settle; the sessions;
                                          whose turn it is

So far everything runs in a plain ``for`` loop. From here on it is asyncio:

10. ``outbox``                            news that waits for its reader
    ``calls``, ``logs``, ``traces``, ``access``
                                          what is known and said of a call
11. ``tally``, ``metrics``                what operators see
12. ``gate``, ``store``, ``scripts``, ``redis_store``
                                          sessions that outlive a server: who owns them, whose writes count
13. ``driver``, ``workers``               an engine's thread and its bridge to the event loop; several of them
14. ``fields``, ``convert``, ``convert_sequences``, ``status``
                                          protobuf to values; errors to google.rpc.Status
15. ``custody``, ``keeper``, ``idempotency``
                                          who has a session; keeping it while it streams; calls made twice
16. ``rpc``                               the gRPC services
17. ``http``, ``server``                  /metrics, health, start, drain, stop
18. ``configuration_page``, ``cli``       ``unrolled serve``
"""
