"""The table of rights (docs/rights.md) against the site as it is: python -m tests.matrix [--all] [--write]

Every address of the URL conf is asked by every role, about its own dataset and about one that it has no role in,
by every method. Whatever a request changes is taken back before the next one.
"""

import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path

TABLE = Path(__file__).resolve().parent.parent / "docs" / "rights.md"
ROLES = ("anonymous", "no role", "reviewer", "manager", "admin", "pipeline", "auditor", "superuser")
MEMBERS = ROLES[2:7]
FEW = ("anonymous", "no role", "manager", "superuser")
PLACES = ("own", "other")
OF_A_DATASET = (
    "work/verdicts/",
    "work/pictures/",
    "work/renew/",
    "work/practise/",
    "api/v1/scans",
    "api/v1/scans/upload",
)
ELSEWHERE = "other dataset"
UNCHANGING = ("HEAD", "PUT", "PATCH", "DELETE")
THEIRS = ("admin/", "accounts/", "^accounts/")  # pages of Django, allauth and the queue: no dataset in them
WORDS = {401: "log in", 403: "no", 404: "none", 405: "method", 409: "refused"}
REFUSALS = {"log in", "no", "none", "method"}
PARAMETER = re.compile(r"<(?:[a-z]+:)?([a-z_0-9]+)>")


@dataclass
class Cell:
    """One request and what came of it."""

    address: str
    method: str
    role: str
    place: str
    outcome: str


# --- the addresses ------------------------------------------------------------------------------------


def routes() -> list[str]:
    """Every address of the URL conf, as it is written there."""
    from django.urls import get_resolver

    return sorted({str(route) for route in _leaves(get_resolver().url_patterns, "")})


def _leaves(patterns, before: str) -> Iterator[str]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from _leaves(pattern.url_patterns, route)
        else:
            yield route


SAMPLES = {
    r"accounts/^confirm-email/(?P<key>[-:\w]+)/$": "accounts/confirm-email/abc/",
    r"accounts/^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$": "accounts/password/reset/key/1-abc/",
    r"^accounts/(password/reset|email|confirm-email)/": "accounts/email/",
    r"admin/^(?P<app_label>auth|account|mfa|usersessions|django_rq|reviews)/$": "admin/auth/",
    r"admin/(?P<url>.*)$": "admin/nowhere/",
    r"admin/django_rq/dashboard/^stats.json/?$": "admin/django_rq/dashboard/stats.json",
    r"admin/django_rq/dashboard/^stats.json/(?P<token>[\w]+)?/?$": "admin/django_rq/dashboard/stats.json/abc",
    r"admin/django_rq/dashboard/^metrics/?$": "admin/django_rq/dashboard/metrics",
}
# An address that answers otherwise for what shows the original is two.
VARIANTS = {"slices/": ("after", "before"), "volumes/": ("after", "before")}


def path_of(route: str, values: dict) -> str:
    """The address of a route with these values in it."""
    route = SAMPLES.get(route, route)
    if route.startswith("^") or "(?P" in route:
        raise KeyError(f"{route}: say in SAMPLES how it is asked")
    return "/" + PARAMETER.sub(lambda found: str(values[found[1]]), route)


def variants(route: str) -> tuple[str, ...]:
    """The table's names of a route."""
    for start, layers in VARIANTS.items():
        if route.startswith(start):
            return tuple(f"{route} {layer}" for layer in layers)
    return (route,)


# --- asking -------------------------------------------------------------------------------------------


def cells(folder: Path, *, everything: bool = False) -> Iterator[Cell]:
    """Every request; the table's two methods first, then those that must change and show nothing more."""
    from django.conf import settings

    settings.DATA_DIR, settings.ACCOUNT_RATE_LIMITS = folder, False
    from tests.matrix_stage import stage

    on = stage(folder)
    clients = {role: _client(on, role) for role in ROLES}
    for route in routes():
        for name in variants(route):
            for method in ("GET", "POST", *UNCHANGING):
                for role, where in askers(route, method, everything):
                    found = _asked(clients[role], on, on.places[where], role, name, method)
                    yield Cell(name, method, role, where, found)


def askers(route: str, method: str, everything: bool) -> list[tuple[str, str]]:
    """Roles with the dataset they ask about; what changes nothing is asked by fewer unless everything is wanted."""
    ours = not route.startswith(THEIRS)
    roles = [role for role in ROLES if method not in UNCHANGING or role in FEW or (everything and ours)]
    if "django_rq" in route:
        roles.remove("superuser")  # who would ask the queue, which does not run here
    both = ours and ("<" in route or route in OF_A_DATASET)
    return [(role, where) for role in roles for where in PLACES[: 1 + (both and role in MEMBERS)]]


def _client(on, role: str):
    from django.test import Client

    client = Client(raise_request_exception=False)
    if role != "anonymous":
        client.force_login(on.people[role])
    return client


def _asked(client, on, here, role: str, name: str, method: str) -> str:
    """What came of one request; all of it is taken back."""
    from django.db import transaction

    from reviews.models import AuditHead
    from tests.matrix_stage import ask

    asked = ask(on, here, role, name)
    route = name.partition(" ")[0]
    headers = (
        {"Authorization": f"Bearer {on.keys[role]}"} if route.startswith("api/") and role in on.keys else {}
    )
    kept = client.cookies.output(header="")
    with transaction.atomic():
        before = AuditHead.objects.get(pk=1).seq
        send = getattr(client, method.lower())
        options = {"headers": headers}
        if method in ("POST", "PUT", "PATCH", "DELETE") and asked.kind == "json":
            options |= {"data": json.dumps(asked.body), "content_type": "application/json"}
        elif method == "POST":
            options |= {"data": asked.body}
        answer = send(path_of(route, asked.values), **options)
        if answer.streaming:
            b"".join(answer.streaming_content)
        moved = AuditHead.objects.get(pk=1).seq != before
        transaction.set_rollback(True)
    if client.cookies.output(header="") != kept:
        client.cookies = SimpleCookie()
        client.cookies.load(kept.replace("\r\n", ";"))
    return outcome(answer, moved)


def outcome(answer, moved: bool) -> str:
    """In one word."""
    if moved:
        return "changes"
    if answer.status_code in (301, 302):
        return "log in" if "/login/" in answer["Location"] else "back"
    if answer.status_code < 300:
        return "shown"
    return WORDS.get(answer.status_code, str(answer.status_code))


# --- the table ----------------------------------------------------------------------------------------


def table() -> dict[tuple[str, str], dict[str, str]]:
    """What docs/rights.md says: (address, method) -> role -> outcome."""
    rows = {}
    for line in TABLE.read_text().splitlines():
        if line.startswith("| `"):
            address, method, *said = (part.strip() for part in line.strip("|").replace("\\|", "¦").split("|"))
            address = address.strip("`").replace("¦", "|")
            rows[address, method] = dict(zip((*ROLES, ELSEWHERE), said, strict=True))
    return rows


def row_of(rows, cell: Cell) -> str:
    """The address as the table has it: itself, else the longest beginning with a star."""
    if (cell.address, cell.method) in rows:
        return cell.address
    stars = [name for name, method in rows if name.endswith("*") and method == cell.method]
    return max((name for name in stars if cell.address.startswith(name[:-1])), key=len, default="")


def expected(rows, cell: Cell) -> set[str]:
    """What may come of a request; nothing where the table does not know the address."""
    if cell.method in UNCHANGING:
        both = [
            expected(rows, Cell(cell.address, method, cell.role, cell.place, ""))
            for method in ("GET", "POST")
        ]
        return (both[0] | both[1] | REFUSALS) - {"changes"} if all(both) else set()
    row = rows.get((row_of(rows, cell), cell.method))
    if row is None:
        return set()
    return set(row[cell.role if cell.place == "own" else ELSEWHERE].split("/"))


def differences(rows, found: list[Cell]) -> list[str]:
    """Each answer that is not the table's, each row of the table that no address has."""
    wrong = []
    for cell in found:
        if cell.outcome not in (meant := expected(rows, cell)):
            said = " or ".join(sorted(meant)) or "no row"
            asked = f"{cell.method} {cell.address} as {cell.role} ({cell.place})"
            wrong.append(f"{asked}: {cell.outcome}, in the table: {said}")
    asked = {(row_of(rows, cell), cell.method) for cell in found}
    return wrong + [
        f"{method} {address}: in the table, not in the URL conf" for address, method in rows.keys() - asked
    ]


def written(found: list[Cell]) -> list[str]:
    """The table's rows as the site answers now, to be read before they are believed."""
    said: dict[tuple[str, str], dict[str, set[str]]] = {}
    for cell in found:
        if cell.method not in UNCHANGING:
            row = said.setdefault((cell.address, cell.method), {name: set() for name in (*ROLES, ELSEWHERE)})
            row[cell.role if cell.place == "own" else ELSEWHERE].add(cell.outcome)
    return [
        "| `" + address.replace("|", "\\|") + f"` | {method} | "
        + " | ".join("/".join(sorted(row[name])) or "–" for name in (*ROLES, ELSEWHERE)) + " |"
        for (address, method), row in said.items()
    ]  # fmt: skip


def main(arguments: list[str]) -> int:
    """Ask everything on a database of its own; exit 0 when every answer is the table's."""
    with tempfile.TemporaryDirectory(prefix="qc-matrix-") as folder:
        os.environ |= {"QC_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "qcsite.settings"}
        import django
        from django.test.runner import DiscoverRunner
        from django.test.utils import setup_test_environment

        django.setup()
        setup_test_environment()
        logging.disable(logging.CRITICAL)
        runner = DiscoverRunner(verbosity=0)
        databases = runner.setup_databases()
        try:
            found = list(cells(Path(folder), everything="--all" in arguments))
        finally:
            runner.teardown_databases(databases)
    if "--write" in arguments:
        sys.stdout.write("\n".join(written(found)) + "\n")
        return 0
    wrong = differences(table(), found)
    sys.stdout.write("".join(line + "\n" for line in wrong) + f"{len(found)} cells, {len(wrong)} differ\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
