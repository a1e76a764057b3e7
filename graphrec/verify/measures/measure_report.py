"""All checks of one loss or metric, for every kind of prediction that it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from graphrec.ground.errors import Problem, RecipeError, suggestion
from graphrec.recipe.loss_table import Loss
from graphrec.recipe.metric_table import Metric
from graphrec.verify.block.block_checks import undocumented
from graphrec.verify.block.conformance_report import Finding, Report
from graphrec.verify.block.verdict import Skipped, Unfit
from graphrec.verify.measures.loss_checks import LOSS_CHECKS
from graphrec.verify.measures.measured_rows import Case, cases
from graphrec.verify.measures.metric_checks import METRIC_CHECKS

__all__ = ["check_measure"]


def check_measure(
    term: type[Loss] | type[Metric], given: Mapping[str, Any], *, stops_gradients: bool = False
) -> Report:
    """Run every check on a loss or metric; any exception of its code is a finding.

    RecipeError for parameters that it does not take.
    """
    tried = cases(term, given)
    parameters = _parameters(term, tried[0].given)
    checks = LOSS_CHECKS if issubclass(term, Loss) else METRIC_CHECKS
    findings = []
    for name, check in checks.items():
        about = (check.__doc__ or "").partition("\n")[0]
        if name == "gradients" and stops_gradients:
            findings.append(Finding(name, "skipped", about, "--stops-gradients"))
        else:
            findings.append(_finding(name, about, check, tried))
    lacking = undocumented(term)
    if lacking:
        findings.append(Finding("documents", "remark", "", "\n".join(lacking)))
    shown = ", ".join(f"{c.form} {c.classes}" if c.form == "softmax" else c.form for c in tried)
    kind = "the loss of each row" if issubclass(term, Loss) else "a number"
    return Report(term.name, parameters, f"predictions: {shown}", (kind,), tuple(findings))


def _finding(name: str, about: str, check: Callable[[Case], None], tried: list[Case]) -> Finding:
    skipped = ""
    for case in tried:
        try:
            check(case)
        except Skipped as reason:
            skipped = str(reason)
        except Unfit as error:
            return Finding(name, "FAILED", about, f"{case.form}: {error}")
        except Exception as error:
            why = f"{case.form}: {type(error).__name__}: {error}"
            return Finding(name, "FAILED", about, why)
    return Finding(name, "skipped" if skipped else "ok", about, skipped)


def _parameters(term: type[Loss] | type[Metric], given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return term.model_validate(dict(given)).model_dump()
    except ValidationError as error:
        problems = []
        for line in error.errors():
            name = ".".join(map(str, line["loc"]))
            known = suggestion(name, term.model_fields) if line["type"] == "extra_forbidden" else ""
            message = f"{name or term.name}: {line['msg'].removeprefix('Value error, ')}"
            help = known or f"--param {name or 'NAME'}=VALUE"
            problems.append(Problem("GR202", message, path=name, help=help))
        raise RecipeError(problems) from None
