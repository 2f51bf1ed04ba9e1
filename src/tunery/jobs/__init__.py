"""Long-running work other than training (downloads, checks, evaluations), one process per job."""
