"""The Unrolled server: streams text from single-step recurrent cells over gRPC.

The life of one token, module by module; each module imports only from those above it:

1. ``settings``, ``errors``       what may be asked for, and how a refusal is said
2. ``vocabulary``, ``sampling``   text to tokens; seed and position to a uniform number
3. ``arena``                      rows of state memory
4. ``graph``, ``program``         the cell and the sampler as one ONNX graph; running it
5. ``session``, ``stream``        a claim on a state; one call being served
6. ``bundle``                     a folder proves that it is what it says
7. ``scheduler``                  which rows, how many steps
8. ``engine``                     five beats: choose, gather, run, deliver, settle

So far everything runs in a plain ``for`` loop. From here on it is asyncio:

9. ``outbox``                     text that waits for its reader
10. ``metrics``                   what operators see
11. ``driver``                    the engine's thread, and the bridge to the event loop
12. ``convert``, ``status``       protobuf to values; errors to google.rpc.Status
13. ``rpc``                       the gRPC services
14. ``http``, ``server``          /metrics, health, start, drain, stop
15. ``cli``                       ``unrolled serve``
"""
