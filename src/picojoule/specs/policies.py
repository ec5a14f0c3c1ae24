"""The grammar of what published mappings do with a machine."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from picojoule.accelerator import Published, PublishedChange
from picojoule.dataflow import MappingRule, RuleKind
from picojoule.specs.parts import Part, all_different
from picojoule.workload import Dim


class _Stated(Part):
    """What somebody says, and how sure that is."""

    source: Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
    status: Literal["published", "derived", "assumed", "fitted"]


class RulePart(_Stated):
    rule: RuleKind
    loops: Annotated[tuple[Dim, ...], BeforeValidator(all_different)] = ()

    @model_validator(mode="after")
    def _about_loops(self) -> RulePart:
        if (self.rule is RuleKind.ON_ARRAY) != bool(self.loops):
            needs = "needs loops" if self.rule is RuleKind.ON_ARRAY else "is about no loops"
            raise ValueError(f"the rule {self.rule.value} {needs}")
        return self


class ChangePart(_Stated):
    to: Any


class PublishedPart(Part):
    rules: tuple[RulePart, ...] = ()
    changes: dict[str, ChangePart] = Field(default_factory=dict)

    def published(self) -> Published:
        """How the machine is used under its published mappings."""
        return Published(
            rules=tuple(
                MappingRule(rule=x.rule, loops=frozenset(x.loops), source=x.source, status=x.status)
                for x in self.rules
            ),
            changes=tuple(
                PublishedChange(
                    target=target, to=json.dumps(x.to), source=x.source, status=x.status
                )
                for target, x in self.changes.items()
            ),
        )
