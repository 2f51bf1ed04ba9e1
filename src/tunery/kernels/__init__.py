"""Fast parts of the forward and backward passes, each equivalent to the plain form it replaces."""
