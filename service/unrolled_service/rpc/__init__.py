"""The gRPC services: each method reads a request, asks the engine, and writes what comes back."""
