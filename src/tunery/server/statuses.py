"""The HTTP status of each of Tunery's own errors."""

STATUSES = {
    "exists": 409, "conflict": 409, "in_use": 409, "unknown": 404, "queue_full": 429, "busy": 503,
    "damaged": 503, "forbidden": 403, "disk_full": 507, "gone": 503, "too_large": 413,
    "bad_query": 422,
}  # fmt: skip
"""HTTP status of errors with one of these codes; the others are 422."""
