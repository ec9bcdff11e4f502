"""The admin API: the original's calls under /api/v1, the fuller ones under /api/v2, and pages for people."""
