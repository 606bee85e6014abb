"""What a tenant may have: by the settings, and by a file for those that are to have something else.

The file is TOML, a table for each tenant; what it does not say is as in the settings::

    [acme]
    streams = 100
    tokens_per_s = 50000
    weight = 2
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unrolled_service.errors import TenantFileError
from unrolled_service.settings import Settings

_Count = Annotated[int, Field(ge=0)]


class Allowance(BaseModel):
    """What one tenant may have; None where nothing bounds it.

    Attributes:
        streams: calls that run or wait.
        sessions: sessions.
        tokens_per_s: tokens a second, fed and given.
        burst_s: for how many seconds' tokens it need not wait after it was quiet.
        weight: its share of the rows beside those of other tenants, where rows are scarce.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    streams: _Count | None = None
    sessions: _Count | None = None
    tokens_per_s: float | None = Field(None, gt=0, le=1e12, allow_inf_nan=False)
    burst_s: float = Field(2.0, gt=0, le=86_400)
    weight: float = Field(1.0, ge=0.01, le=100)

    @classmethod
    def of_settings(cls, settings: Settings) -> Self:
        """Return what tenants may have that no file names."""
        return cls(
            streams=settings.tenant_streams,
            sessions=settings.tenant_sessions,
            tokens_per_s=settings.tenant_tokens_per_s,
            burst_s=settings.tenant_burst_s,
        )


def read_allowances(path: Path, defaults: Allowance) -> Mapping[str, Allowance]:
    """Return what the tenants of a file may have.

    Raises:
        TenantFileError: naming the tenant, the key and the fault.
    """
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TenantFileError(f"{path}: {error}") from error
    allowances = {}
    for tenant, table in tables.items():
        if not isinstance(table, dict):
            raise TenantFileError(f"{path}: {tenant} is not a table of a tenant")
        try:
            allowances[tenant] = Allowance(**(defaults.model_dump() | table))
        except ValidationError as error:
            (fault, *_) = error.errors()
            place = ".".join((tenant, *map(str, fault["loc"])))
            raise TenantFileError(f"{path}: {place}: {fault['msg']}") from error
    return allowances
