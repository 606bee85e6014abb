"""Sessions that outlive a server: who owns them, whose writes count."""
