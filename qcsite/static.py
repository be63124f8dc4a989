"""Static files under names that carry their hash, compressed once, cached for ever."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedFiles(CompressedManifestStaticFilesStorage):
    support_js_module_import_aggregation = True  # modules import each other by their hashed names
