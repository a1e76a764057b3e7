"""All checks of one block: what passed, what did not and why; for people and as data."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from graphrec.verify.block.block_checks import CHECKS, undocumented
from graphrec.verify.block.example import Example
from graphrec.verify.block.verdict import Skipped, Unfit

__all__ = ["Finding", "Report", "check_block"]

_LEAD = " " * 22


@dataclass(frozen=True)
class Finding:
    """What one check said: what it is `about`, and `why` it failed, was skipped or remarks."""

    check: str
    status: Literal["ok", "FAILED", "skipped", "remark"]
    about: str
    why: str = ""


@dataclass(frozen=True)
class Report:
    """What was tried on a block, with which inputs."""

    block: str
    parameters: Mapping[str, Any]
    inputs: str
    outputs: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return not any(finding.status == "FAILED" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}

    def as_text(self) -> str:
        """One line a check, reasons below it, then the count."""
        shown = "  ".join(f"{name}={json.dumps(v)}" for name, v in self.parameters.items())
        head = f"{self.inputs} -> {', '.join(self.outputs)}"
        lines = [f"{self.block}   {shown}".rstrip(), head, ""]
        for finding in self.findings:
            lines.append(f"{finding.status:<9}{finding.check:<13}{finding.about}".rstrip())
            for line in finding.why.splitlines():
                lines.extend(textwrap.indent(part, _LEAD) for part in textwrap.wrap(line, 78))
        counts = [(word, sum(f.status == word for f in self.findings)) for word in _WORDS]
        totals = [f"{number} {_WORDS[word]}" for word, number in counts if number]
        return "\n".join([*lines, "", ", ".join(totals)]) + "\n"


_WORDS = {"ok": "passed", "FAILED": "failed", "skipped": "skipped", "remark": "remarked"}


def check_block(examples: Sequence[Example]) -> Report:
    """Run every check on the examples of one block; any exception of its code is a finding.

    Those after the first get one finding each, which is a remark where they fit by accident.
    """
    example = examples[0]
    block = type(example.block)
    findings = [_judge(name, check, example) for name, check in CHECKS.items()]
    findings += [_also(other) for other in examples[1:]]
    lacking = undocumented(block)
    if lacking:
        about = "The pages about the block and the editor's help show these."
        findings.append(Finding("docstrings", "remark", about, "\n".join(lacking)))
    return Report(
        block=block.block_name,
        parameters=example.block.model_dump(mode="json"),
        inputs=example.shown,
        outputs=tuple(str(shape) for shape in example.outputs()),
        findings=tuple(findings),
    )


def _also(example: Example) -> Finding:
    """What all checks say of one more example, in one finding."""
    findings = [_judge(name, check, example) for name, check in CHECKS.items()]
    wrong = [
        f"{finding.check}: {finding.why}" for finding in findings if finding.status == "FAILED"
    ]
    if not wrong:
        return Finding("also", "ok", example.shown)
    if not example.by_accident:
        return Finding("also", "FAILED", example.shown, "\n".join(wrong))
    hint = "infer accepts it, the layer does not hold: refuse it in infer, e.g. x.expect(2, ...)"
    return Finding("also", "remark", example.shown, "\n".join([hint, wrong[0]]))


def _judge(name: str, check: Callable[[Example], None], example: Example) -> Finding:
    about = (check.__doc__ or "").split("\n\n")[0].strip()
    try:
        check(example)
    except Skipped as why:
        return Finding(name, "skipped", about, str(why))
    except Unfit as why:
        return Finding(name, "FAILED", about, str(why))
    except Exception as error:  # the author's code may raise anything
        return Finding(name, "FAILED", about, f"{type(error).__name__}: {error}")
    return Finding(name, "ok", about)
