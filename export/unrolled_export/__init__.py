"""Define, train, export and verify recurrent models.

The package that owns everything before a bundle is served, and the only one that imports torch. It refuses
to know about gRPC, sessions and the server. `verification` and what it imports run without torch.
"""
