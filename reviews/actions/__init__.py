"""The only writer of QC state: one function per domain event, each with a keyword-only `actor`.

An actor is a user, or None for the software itself. Each refusal is a `Refused` with words for the person.
"""

from reviews.actions.core import (
    FileChanged,
    NotAllowed,
    NotLeased,
    Refused,
    StaleState,
    TooEarly,
    active_thresholds,
)
from reviews.actions.handing_in import claim_intake, hand_in, requeue_intakes, settle_intake
from reviews.actions.intake import Source, Taken, register_broken, register_scan
from reviews.actions.keys import TooMany, issue_token, revoke_token, user_of_token
from reviews.actions.known_cases import declare_known_case, drop_known_case, practice_batch, record_practice
from reviews.actions.leases import (
    attempts_given,
    lease_batch,
    lease_one,
    queues_of,
    release_leases,
    renew_leases,
)
from reviews.actions.looking import look_at_original, require_sight, seal_looks
from reviews.actions.models import (
    adopt_model,
    objection_to,
    promote_model,
    reclassify,
    record_frozen_test,
    register_model,
    shadow_model,
)
from reviews.actions.people import (
    assign,
    configure_dataset,
    create_dataset,
    grant,
    revoke,
    unassign,
)
from reviews.actions.pipeline import (
    claim,
    claiming_processes,
    finish_deface,
    finish_render,
    give_up_claims,
    heartbeat,
    order_redeface,
    report_error,
    requeue_stalled,
    require_claim,
    retry,
    withdraw,
)
from reviews.actions.stored import original_of, output_of
from reviews.actions.testsets import freeze_testset
from reviews.actions.thresholds import activate_thresholds, save_thresholds
from reviews.actions.triage import Finding, record_no_prediction, record_prediction, record_shadow, retriage
from reviews.actions.undo import UNDO_HOURS, undo_verdict, undoable
from reviews.actions.verdicts import NOBODYS, Judgement, Outcome, accept_page, record_verdict, refer

__all__ = [
    "NOBODYS",
    "UNDO_HOURS",
    "FileChanged",
    "Finding",
    "Judgement",
    "NotAllowed",
    "NotLeased",
    "Outcome",
    "Refused",
    "Source",
    "StaleState",
    "Taken",
    "TooEarly",
    "TooMany",
    "accept_page",
    "activate_thresholds",
    "active_thresholds",
    "adopt_model",
    "assign",
    "attempts_given",
    "claim",
    "claim_intake",
    "claiming_processes",
    "configure_dataset",
    "create_dataset",
    "declare_known_case",
    "drop_known_case",
    "finish_deface",
    "finish_render",
    "freeze_testset",
    "give_up_claims",
    "grant",
    "hand_in",
    "heartbeat",
    "issue_token",
    "lease_batch",
    "lease_one",
    "look_at_original",
    "objection_to",
    "order_redeface",
    "original_of",
    "output_of",
    "practice_batch",
    "promote_model",
    "queues_of",
    "reclassify",
    "record_frozen_test",
    "record_no_prediction",
    "record_practice",
    "record_prediction",
    "record_shadow",
    "record_verdict",
    "refer",
    "register_broken",
    "register_model",
    "register_scan",
    "release_leases",
    "renew_leases",
    "report_error",
    "requeue_intakes",
    "requeue_stalled",
    "require_claim",
    "require_sight",
    "retriage",
    "retry",
    "revoke",
    "revoke_token",
    "save_thresholds",
    "seal_looks",
    "settle_intake",
    "shadow_model",
    "unassign",
    "undo_verdict",
    "undoable",
    "user_of_token",
    "withdraw",
]
