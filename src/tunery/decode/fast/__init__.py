"""The fast forward pass: Llama-like models with minimal overhead around the matrix products."""
