"""What a run writes for people: its report, its first batch, its anomalies."""
