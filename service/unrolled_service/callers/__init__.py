"""Who may call what: identities, tokens, certificates."""
