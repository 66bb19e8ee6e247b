"""What `anthem doctor` is asked and what it finds: each finding with the command that mends it.

A fact that the cluster does not tell is a `Refused`, which becomes a warning; nothing here talks to a cluster.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from anthem_core.encoding.bundle import Bundle

Level: TypeAlias = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: Name of the check, as docs/doctor.md explains it.
        level: `fault` where searches suffer or are not reranked, `warning` where they may, else `ok`.
        found: What there is.
        wanted: What there should be; empty where all is well.
        command: What mends it, to be run or sent as it stands; empty where nothing does, or nothing has to.
    """

    check: str
    level: Level
    found: str
    wanted: str = ""
    command: str = ""

    def to_dict(self) -> dict[str, str]:
        """Finding as JSON knows it."""
        return asdict(self)

    def __str__(self) -> str:
        mends = [f"{'':9}wanted: {self.wanted}"] if self.wanted else []
        mends += [f"{'':9}{line}" for line in self.command.splitlines()]
        return "\n".join([f"{self.level:<8} {self.check}: {self.found}", *mends])


@dataclass(frozen=True, slots=True)
class UnavailableFact:
    """In place of a fact: the request the cluster did not answer, and what it said."""

    request: str
    reason: str


Fact: TypeAlias = Any  # what a cluster answers, or a `Refused`


@dataclass(frozen=True)
class DoctorTarget:
    """What is examined: an index, alias or pattern, for a bundle that goes by a name, in the cluster at `url`."""

    index: str
    bundle: Bundle
    name: str = "general"
    fields: tuple[str, ...] = ("title",)
    url: str | None = None

    def command(self, verb: str, *more: str, index: str | None = None) -> str:
        """A command of ours for the index, as a shell takes it."""
        bundle = () if verb == "remove" else ("--bundle", self.name)
        fields = {"ingest": self.fields, "doctor": self.fields, "search": self.fields[:1]}.get(verb, ())
        named = [word for field in fields for word in ("--field", field)] if fields != ("title",) else []
        url = ("--url", self.url) if self.url else ()
        return shlex.join(["anthem", verb, index or self.index, *more, *bundle, *named, *url])


def judge_fact(check: str, fact: Fact, judge: Callable[[Any], Iterable[Finding]]) -> list[Finding]:
    """Findings on a fact, or the warning that it is not known."""
    if isinstance(fact, UnavailableFact):
        wanted = f"a sign-in that may send {fact.request}"
        return [Finding(check, "warning", f"not known: {fact.reason}", wanted)]
    return list(judge(fact))


def console_request(method: str, path: str, body: object = None) -> str:
    """A request to the cluster, as its console takes it."""
    return f"{method} /{path}" + ("" if body is None else f" {json.dumps(body)}")


def count_of(number: int, what: str = "product") -> str:
    """A number of things in words."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def findings_to_json(asked: DoctorTarget, findings: Sequence[Finding]) -> dict[str, Any]:
    """Findings as JSON knows them; `healthy` where there is no fault."""
    faults, warnings = (sum(one.level == level for one in findings) for level in ("fault", "warning"))
    return {
        "index": asked.index,
        "model": asked.bundle.model,
        "healthy": not faults,
        "faults": faults,
        "warnings": warnings,
        "findings": [one.to_dict() for one in findings],
    }


def findings_to_text(asked: DoctorTarget, findings: Sequence[Finding]) -> str:
    """Findings for people, faults first."""
    counted = findings_to_json(asked, findings)
    head = f"{asked.index}: {count_of(counted['faults'], 'fault')}, {count_of(counted['warnings'], 'warning')}"
    worst = sorted(findings, key=lambda one: ("fault", "warning", "ok").index(one.level))
    return "\n".join([head, *map(str, worst)])
