"""What the kernels and those who call them agree on: weights in memory, and the fields of a job."""

UNIT = 32
"""Outputs whose weights lie together."""
FIELDS = 16
"""Numbers of a job."""
PRODUCT, ATTEND, ADD, ADAPT, NOTHING = 0, 1, 2, 3, 4
"""Jobs; see ``_product``, ``_attend``, ``_add`` and ``_adapt`` in kernels.py for their fields."""
PLAIN, NORMED, GATED = 0, 1, 2
"""What is done to rows before a product: nothing, RMSNorm, or SiLU of one half times the other."""
TABLE_FIELDS = 5
"""Numbers that ``_attend`` is told of a row."""
ENTRY = "tunery_work"
"""Name of the compiled function."""
