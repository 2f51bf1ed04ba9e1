"""How a run is spread over devices: one file per way; today one device."""
