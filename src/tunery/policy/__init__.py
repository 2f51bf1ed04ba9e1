"""The forward pass shared by training and evaluation: the only interface of a method to a model."""
