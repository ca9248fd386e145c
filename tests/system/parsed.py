"""Checks that the Python parsers of Prometheus accept an exposition, and that it has no duplicate series or families. Files that end in
.openmetrics are parsed as OpenMetrics.

Usage: parsed.py FILE...
"""

import sys

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families


def read(path):
    families, series = set(), set()
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    parse = text_string_to_metric_families
    if path.endswith(".openmetrics"):
        parse = openmetrics.text_string_to_metric_families
    for family in parse(text):
        assert family.name not in families, f"duplicate family {family.name}"
        assert family.type in ("counter", "gauge", "histogram"), f"{family.name} has an invalid type: {family.type}"
        assert family.documentation, f"{family.name} has no help"
        assert family.samples, f"{family.name} has no sample"
        families.add(family.name)
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in series, f"duplicate series {key}"
            assert sample.timestamp is None, f"{key} has a timestamp"
            series.add(key)
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    assert len(lines) == len(series), f"the file has {len(lines)} samples, but the parser returned {len(series)}"
    print(f"  {path.rsplit('/', 1)[-1]}: {len(families)} families, {len(series)} series, no duplicates")


def main():
    for path in sys.argv[1:]:
        read(path)
    print(f"{len(sys.argv) - 1} passed, 0 failed")


if __name__ == "__main__":
    main()
