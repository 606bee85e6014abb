"""How well a served bundle does: its own held-out items asked through a server, and one figure of the answers."""
