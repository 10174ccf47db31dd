"""Checks and reports of files, data sets and runs before training starts.

Example:
    report = validate_files(["train.jsonl"])
    report.problems, report.statistics.captions.most(10)
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.audit.auditing import AuditOptions, audit
    from dcap.audit.findings import Finding
    from dcap.audit.inspection import TrainingFacts, inspect_epoch
    from dcap.audit.inspection_report import InspectionReport
    from dcap.audit.machine import examine_machine
    from dcap.audit.preview import Preview, load_preview
    from dcap.audit.replay import Replay, find_sample
    from dcap.audit.split_checks import CheckResult
    from dcap.audit.suspects import Suspects, find_suspects
    from dcap.audit.token_runs import TokenRun
    from dcap.audit.validation import validate_files
    from dcap.audit.validation_report import ValidationReport

__all__ = [
    "AuditOptions",
    "CheckResult",
    "Finding",
    "InspectionReport",
    "Preview",
    "Replay",
    "Suspects",
    "TokenRun",
    "TrainingFacts",
    "ValidationReport",
    "audit",
    "examine_machine",
    "find_sample",
    "find_suspects",
    "inspect_epoch",
    "load_preview",
    "validate_files",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "auditing": ("AuditOptions", "audit"),
        "findings": ("Finding",),
        "inspection": ("TrainingFacts", "inspect_epoch"),
        "inspection_report": ("InspectionReport",),
        "machine": ("examine_machine",),
        "preview": ("Preview", "load_preview"),
        "replay": ("Replay", "find_sample"),
        "split_checks": ("CheckResult",),
        "suspects": ("Suspects", "find_suspects"),
        "token_runs": ("TokenRun",),
        "validation": ("validate_files",),
        "validation_report": ("ValidationReport",),
    },
)
