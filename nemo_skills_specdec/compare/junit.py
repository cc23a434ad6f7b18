"""Comparisons as JUnit XML: one suite a comparison, one test case a threshold."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from nemo_skills_specdec.compare.comparison import Comparison
from nemo_skills_specdec.compare.wording import threshold_text
from nemo_skills_specdec.shown import plain


def junit_xml(comparisons: Sequence[Comparison]) -> bytes:
    """A violated threshold is a failure, an undecided one is skipped."""
    root = ET.Element("testsuites")
    for comparison in comparisons:
        results = comparison.thresholds
        suite = ET.SubElement(
            root,
            "testsuite",
            name=plain(comparison.run.label),
            tests=str(len(results)),
            failures=str(sum(result.outcome == "violated" for result in results)),
            skipped=str(sum(result.outcome == "undecided" for result in results)),
        )
        for result in results:
            case = ET.SubElement(suite, "testcase", classname=plain(comparison.run.label), name=result.threshold)
            if result.outcome != "met":
                tag = "failure" if result.outcome == "violated" else "skipped"
                ET.SubElement(case, tag, message=plain(threshold_text(result)))
    ET.indent(root)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode").encode() + b"\n"
