"""`python -m unrolled_client` is `unrolled`."""

import sys

from unrolled_client.cli import main

sys.exit(main())
