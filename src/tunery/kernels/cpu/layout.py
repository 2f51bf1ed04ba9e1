"""The contract between the kernels and their callers: weight layout and the fields of a job."""

UNIT = 32
"""Number of outputs whose weights are stored together."""
FIELDS = 16
"""Number of fields of a job."""
PRODUCT, ATTEND, ADD, ADAPT, NOTHING = 0, 1, 2, 3, 4
"""Jobs; see ``_product``, ``_attend``, ``_add`` and ``_adapt`` in kernels.py for their fields."""
PLAIN, NORMED, GATED = 0, 1, 2
"""Operation on rows before a product: none, RMSNorm, or SiLU of one half times the other."""
TABLE_FIELDS = 5
"""Number of fields per row in the table of ``_attend``."""
ENTRY = "tunery_work"
"""Name of the compiled function."""
