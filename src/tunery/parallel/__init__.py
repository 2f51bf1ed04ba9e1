"""Distribution of a run over devices: one file per strategy; currently a single device."""
