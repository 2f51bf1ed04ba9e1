"""The forward pass that training and evaluation share: the one door from a method to a model."""
