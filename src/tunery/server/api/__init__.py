"""REST under /api/v1: one module an area, each with its ``router``."""
