"""Who the keys of an export are: `user:7` of its trail with the name as it stood, and nobody who does not appear in it."""

from django.contrib.auth import get_user_model

from reviews.models import AccessLog, Dataset, FormerName, Membership, Role, Verdict

COLUMNS = ("key", "name", "former_names", "role", "account")
OF_ALL_DATASETS = ("threshold_set", "model_version")  # cut-offs and models of the site decide here too


class Actors:
    """Gathered while the trail is written: who did something in the dataset, or to the accounts of those."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        members = Membership.objects.filter(dataset=dataset).values_list("user_id", flat=True)
        judges = Verdict.objects.filter(attempt__dataset=dataset).order_by().values_list("user_id", flat=True)
        lookers = AccessLog.objects.filter(dataset=dataset).order_by().values_list("user_id", flat=True)
        self.keys = {f"user:{pk}" for pk in {*members, *judges.distinct(), *lookers.distinct()}}
        self.of_accounts: dict[str, set[str]] = {}

    def see(self, event: dict) -> None:
        """One event of the whole trail."""
        if event["dataset"] == self.dataset.pk:
            self.keys.add(event["actor"])
            if event["object_kind"] == "user":
                self.keys.add(f"user:{event['object_id']}")
        elif event["dataset"] is None and event["object_kind"] in OF_ALL_DATASETS:
            self.keys.add(event["actor"])
        elif event["dataset"] is None and event["object_kind"] == "user":
            self.of_accounts.setdefault(f"user:{event['object_id']}", set()).add(event["actor"])

    def rows(self) -> list[dict]:
        """One row a person, in the order of their keys."""
        keys = self.keys.union(*(self.of_accounts.get(key, set()) for key in self.keys))
        pks = sorted(int(key[5:]) for key in keys if key.startswith("user:"))
        people = get_user_model().objects.in_bulk(pks)
        roles = dict(Membership.objects.filter(dataset=self.dataset).values_list("user_id", "role"))
        former: dict[int, list[str]] = {}
        for pk, name, until in FormerName.objects.filter(user__in=pks).values_list("user", "name", "until"):
            former.setdefault(pk, []).append(f"{name} until {until.isoformat(timespec='seconds')}")
        return [self._row(people[pk], former.get(pk, []), roles.get(pk)) for pk in pks if pk in people]

    def _row(self, user, former: list[str], role: str | None) -> dict:
        return {
            "key": f"user:{user.pk}",
            "name": user.get_username(),
            "former_names": "; ".join(former),
            "role": Role(role).label if role else "Superuser" if user.is_superuser else "",
            "account": "open" if user.is_active else "closed",
        }
