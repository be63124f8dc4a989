"""A site of its own that is hurt on purpose while robots judge, and what is left of it: python -m tests.faults."""
