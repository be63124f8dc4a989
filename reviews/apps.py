from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class ReviewsConfig(AppConfig):
    name = "reviews"

    def ready(self) -> None:
        from reviews.actions import accounts

        post_migrate.connect(keep_history, sender=self)
        accounts.watch()


def keep_history(using: str, **kwargs) -> None:
    """A migration that rebuilds a table loses its triggers; put them back after every migration."""
    from reviews import append_only

    append_only.protect(connections[using])
