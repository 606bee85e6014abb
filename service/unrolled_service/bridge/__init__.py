"""Between the engine's thread and the event loop."""
