"""Fast pieces of the forward and backward pass, each exact against the plain form it replaces."""
