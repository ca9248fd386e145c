"""Proves that Prometheus' own parsers for Python read a page, and that no series or family is on it twice. A file that ends in
.openmetrics is read as that.

Usage: parsed.py PAGE...    (files)
"""

import sys

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families


def read(page):
    families, series = set(), set()
    with open(page, encoding="utf-8", newline="") as file:
        text = file.read()
    parse = text_string_to_metric_families
    if page.endswith(".openmetrics"):
        parse = openmetrics.text_string_to_metric_families
    for family in parse(text):
        assert family.name not in families, f"{family.name} is two families"
        assert family.type in ("counter", "gauge", "histogram"), f"{family.name} has no type: {family.type}"
        assert family.documentation, f"{family.name} has no help"
        assert family.samples, f"{family.name} has no sample"
        families.add(family.name)
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in series, f"{key} is there twice"
            assert sample.timestamp is None, f"{key} has a timestamp"
            series.add(key)
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    assert len(lines) == len(series), f"{len(lines)} lines of samples, {len(series)} series were read"
    print(f"  {page.rsplit('/', 1)[-1]}: {len(families)} families, {len(series)} series, each once")


def main():
    for page in sys.argv[1:]:
        read(page)
    print(f"{len(sys.argv) - 1} passed, 0 failed")


if __name__ == "__main__":
    main()
