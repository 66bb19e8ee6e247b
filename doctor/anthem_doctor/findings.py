"""Findings, what `anthem doctor` reports: what was checked, what was found, and the command that fixes it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from anthem_core.console import count_of
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS, ingested_fields, ingested_signals
from anthem_doctor.facts import UnavailableFact
from anthem_ingest.encode import choose_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anthem_core.encoding.bundle import Bundle
    from anthem_core.opensearch.schema import ModelFields, ModelSignal
    from anthem_doctor.facts import Fact
    from anthem_ingest.mapping import IndexDescription
    from anthem_plugin.search.request import IndexProfile

Level: TypeAlias = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        check: Name of the check, which docs/doctor.md explains.
        level: `fault` if searches suffer or are not reranked, `warning` if they may, otherwise `ok`.
        found: What was found.
        expected: What should have been found; empty if all is well.
        command: What fixes it, one `anthem` command or one request to the cluster per line; empty if there is
            nothing to do.
    """

    check: str
    level: Level
    found: str
    expected: str = ""
    command: str = ""

    def to_dict(self) -> dict[str, str]:
        """The finding as JSON; the key of `expected` is `wanted`."""
        return {
            "check": self.check,
            "level": self.level,
            "found": self.found,
            "wanted": self.expected,
            "command": self.command,
        }

    def __str__(self) -> str:
        details = [f"expected: {self.expected}"] if self.expected else []
        details += self.command.splitlines()
        return "\n".join([f"{self.level:<8} {self.check}: {self.found}", *(f"{'':9}{line}" for line in details)])


@dataclass(frozen=True)
class DoctorTarget:
    """What is examined: an index, alias or pattern, in the cluster at `url`, for a bundle and its text fields."""

    index: str
    bundle: Bundle
    bundle_name: str = "general"
    text_fields: tuple[str, ...] = DEFAULT_TEXT_FIELDS
    url: str | None = None
    has_named_fields: bool = False  # whether the user named the text fields
    signals: tuple[str, ...] | None = None  # that ingest was told to write values for; None: all of the bundle

    @classmethod
    def of_profile(
        cls,
        profile: IndexProfile,
        index: str,
        bundle: Bundle,
        bundle_name: str,
        named: tuple[str, ...],
        url: str | None,
    ) -> DoctorTarget:
        """A target with the text fields that the user named, else those of the profile, else the default."""
        fields = named or profile.text_fields or DEFAULT_TEXT_FIELDS
        return cls(index, bundle, bundle_name, fields, url, has_named_fields=bool(named))

    @property
    def expected_signals(self) -> tuple[ModelSignal, ...]:
        """Signals that products should have values for: those of the bundle that ingest recorded, or all of it."""
        available = choose_signals(self.bundle)
        return tuple(signal for signal in available if signal in (self.signals or available)) or available

    def for_ingested(self, index: IndexDescription, fields: ModelFields) -> DoctorTarget:
        """The same target, with the signals and, unless others were named, the text fields that ingest recorded."""
        recorded = None if self.has_named_fields else ingested_fields(index.mappings, fields.name)
        signals = ingested_signals(index.mappings, fields.name)
        return replace(self, signals=signals, text_fields=recorded or self.text_fields)

    def command(self, verb: str, *arguments: str, index: str | None = None) -> str:
        """An `anthem` command for the index, quoted for a shell."""
        bundle = () if verb == "remove" else ("--bundle", self.bundle_name)
        fields = {"ingest": self.text_fields, "doctor": self.text_fields, "search": self.text_fields[:1]}.get(verb, ())
        field_options = (
            [word for field in fields for word in ("--field", field)] if fields != DEFAULT_TEXT_FIELDS else []
        )
        has_all = self.expected_signals == choose_signals(self.bundle)
        signals = () if has_all or verb != "ingest" else ("--signals", ",".join(self.expected_signals))
        url = ("--url", self.url) if self.url else ()
        return shlex.join(["anthem", verb, index or self.index, *arguments, *bundle, *field_options, *signals, *url])


def judge_fact(check: str, fact: Fact, judge: Callable[[Any], Iterable[Finding]]) -> list[Finding]:
    """Findings about a fact, or a warning if the cluster did not give it."""
    if isinstance(fact, UnavailableFact):
        return [Finding(check, "warning", f"unknown: {fact.reason}", fact.expected)]
    return list(judge(fact))


def console_request(method: str, path: str, body: object = None) -> str:
    """A request in the syntax of the Dev Tools console of OpenSearch Dashboards."""
    return f"{method} /{path}" + ("" if body is None else f" {json.dumps(body)}")


def findings_to_json(target: DoctorTarget, findings: Sequence[Finding]) -> dict[str, Any]:
    """Findings as JSON values; `healthy` means that there is no fault."""
    faults, warnings = (sum(finding.level == level for finding in findings) for level in ("fault", "warning"))
    return {
        "index": target.index,
        "model": target.bundle.model_id,
        "healthy": not faults,
        "faults": faults,
        "warnings": warnings,
        "findings": [finding.to_dict() for finding in findings],
    }


def findings_to_text(target: DoctorTarget, findings: Sequence[Finding]) -> str:
    """Findings as text, faults first."""
    counts = findings_to_json(target, findings)
    head = f"{target.index}: {count_of(counts['faults'], 'fault')}, {count_of(counts['warnings'], 'warning')}"
    worst_first = sorted(findings, key=lambda finding: ("fault", "warning", "ok").index(finding.level))
    return "\n".join([head, *map(str, worst_first)])
