"""The server, except that callers say in their metadata which tenant they are: ``python -m bench.tenant_server``."""

from typing import Any

from unrolled_service.cli import serve
from unrolled_service.rpc import generation

TENANT = "x-tenant"


def _tenant_of(context: Any) -> str:
    return str(dict(context.invocation_metadata()).get(TENANT, ""))


if __name__ == "__main__":
    setattr(generation, "tenant_of", _tenant_of)  # noqa: B010
    serve(prog_name="bench.tenant_server")
