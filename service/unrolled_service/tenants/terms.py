"""On whose account a call runs, and how urgently. Belongs to a row for as long as it lives."""

from dataclasses import dataclass

from unrolled_service.tenants.budget import Budget


@dataclass(frozen=True, slots=True)
class Terms:
    """What the scheduler knows of a caller.

    Attributes:
        tenant: whose call it is; empty where there is no authentication.
        is_batch: it lets calls of the same tenant go first that are not.
        weight: its tenant's share of the rows, beside those of other tenants.
        budget: pays for the tokens that it is fed and gives; None where nothing bounds them.
    """

    tenant: str = ""
    is_batch: bool = False
    weight: float = 1.0
    budget: Budget | None = None


NOBODY = Terms()
