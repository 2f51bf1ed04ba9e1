"""Files and messages that a run writes for its user: report, first batch, anomalies."""
