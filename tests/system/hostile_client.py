"""A client that misbehaves, in a process of its own.

Arguments: address, how many tokens to ask for, and what to do after the first message: ``read`` on, or
``rest`` until a line comes on stdin and read on then. It prints ``reading`` after the first message; at the
end of the stream, a JSON object with the text's length, whether it is right, and how the call ended.
"""

import json
import sys

from tests.support.alphabet import greedy_text
from tests.support.windows import SMALL_WINDOW
from unrolled_client import Client, UnrolledError


def main(address: str, max_tokens: str, behaviour: str) -> None:
    ending = "finished"
    with (
        Client(address, options=SMALL_WINDOW) as client,
        client.generate("a", max_tokens=int(max_tokens), temperature=0) as stream,
    ):
        try:
            next(stream)
            print("reading", flush=True)
            if behaviour == "rest":
                sys.stdin.readline()
            for _ in stream:
                pass
        except UnrolledError as error:
            ending = f"{error.code.name} {error.reason}"
        text = stream.text
    is_right = text == greedy_text("a", len(text))
    print(json.dumps({"length": len(text), "is_right": is_right, "ending": ending}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
