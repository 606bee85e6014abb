"""Stream text from a server on this machine: start one with `unrolled serve`."""

from unrolled_client import Client

with (
    Client("127.0.0.1:50051") as client,
    client.generate("ROMEO:", max_tokens=400, temperature=0.8, seed=7) as stream,
):
    for text in stream:
        print(text, end="", flush=True)
    print(f"\n\n{stream.finish}")
