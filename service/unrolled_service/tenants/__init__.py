"""Who may have how much: quotas, and on whose account a call runs."""
