"""What is learned from a row: one file a method, chosen by ``method.type``."""
