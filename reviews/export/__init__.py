"""Exports of a dataset: every attempt with its decisions and versions, and the audit trail with its check."""

from reviews.export.files import FORMATS, bundle, write, write_with_summary

__all__ = ["FORMATS", "bundle", "write", "write_with_summary"]
