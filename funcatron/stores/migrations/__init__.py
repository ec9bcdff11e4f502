"""Alembic's scripts: how the tables came to be what they are. Each revision is a file in `versions/`.

To add one: change `tables.py`, write `versions/r000N_what.py` by the example of the last, add its number to
`schema.REVISIONS`. Revisions that were released are never changed. New columns have a server default, so that a Tron of
the version before goes on while a cluster is upgraded. The conformance suite compares what the scripts make with
`tables.py`, on each database.
"""
