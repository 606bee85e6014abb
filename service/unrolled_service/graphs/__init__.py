"""The cell as a graph that takes many steps, with the sampler or without it; running it."""
