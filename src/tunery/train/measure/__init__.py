"""What is measured beside the training loss: evaluation, samples, forgetting, replay answers."""
