"""Tables, constraints and QuerySet verbs; no workflow."""

from reviews.models.decisions import (
    Given,
    KnownCase,
    Lease,
    ModelVersion,
    Prediction,
    Referral,
    SpentTime,
    ThresholdSet,
    TriageRecord,
    Verdict,
)
from reviews.models.intakes import Intake
from reviews.models.looks import AccessLog
from reviews.models.people import ApiToken, Assignment, Dataset, FormerName, Membership, Mode, Role
from reviews.models.preferences import Preference
from reviews.models.scans import Attempt, Scan
from reviews.models.testsets import FrozenCase, FrozenSet
from reviews.models.trail import AuditEvent, AuditHead

__all__ = [
    "AccessLog",
    "ApiToken",
    "Assignment",
    "Attempt",
    "AuditEvent",
    "AuditHead",
    "Dataset",
    "FormerName",
    "FrozenCase",
    "FrozenSet",
    "Given",
    "Intake",
    "KnownCase",
    "Lease",
    "Membership",
    "Mode",
    "ModelVersion",
    "Prediction",
    "Preference",
    "Referral",
    "Role",
    "Scan",
    "SpentTime",
    "ThresholdSet",
    "TriageRecord",
    "Verdict",
]
