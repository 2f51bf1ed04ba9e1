"""The fast pass: llama-like models with as little as possible around the products."""
