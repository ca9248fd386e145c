"""Breaks each shipped alert rule in many ways and checks that its unit tests notice.

Usage: broken_rules.py BIN WORK    (a directory with promtool, and a directory for files)
"""

import copy
import glob
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import yaml

from checks import check, finish

BIN, WORK = sys.argv[1:3]
FILES = ["deploy/prometheus/alerts.yaml", "deploy/prometheus/freshness.yaml"]
# The files that take the least time come first, because most rules need only one.
TESTS = sorted(glob.glob("tests/system/alerts/*.test.yaml"), key=os.path.getsize)
# How an expression is broken: each match of a pattern is replaced, one at a time. Numbers and ranges are halved and doubled.
HALVED_OR_DOUBLED = None
BREAKS = [
    (r"== 1\b", "== 0"), (r"== 0\b", "== 1"), (r"(?<= )>(?= )", "<"), (r"(?<= )<(?= )", ">"), ('="', '!="'),
    (r"\bunless\b", "and"), (r"\band\b", "unless"), (r"\bor\b", "unless"), (r"\bmax by\b", "min by"), (r"\bmin by\b", "max by"),
    (r"\b(avg|min)_over_time\b", "max_over_time"), (r"\bclamp_min\b", "clamp_max"), (r"(?<=and )topk\b", "bottomk"), (r"[A-Z]+\|", ""), (r"\|[A-Z]+", ""),
    (r"\b(\d{2,}|[26]|1\.5|0\.5)(?= |,|$)", HALVED_OR_DOUBLED), (r"(?<=\[)\d+(?=[mhd])", HALVED_OR_DOUBLED),
]


def broken_expressions(expression):
    for pattern, replacement in BREAKS:
        for found in re.finditer(pattern, expression, re.MULTILINE):
            if replacement is not HALVED_OR_DOUBLED:
                replacements = [replacement]
            elif "." in found.group():
                replacements = [f"{float(found.group()) * factor:g}" for factor in (0.5, 2)]
            else:
                replacements = [str(max(int(found.group()) // 2, 1)), str(int(found.group()) * 2)]
            for text in replacements:
                if text != found.group():
                    yield expression[:found.start()] + text + expression[found.end():]


def broken_rules(rules):
    """Yields a description and the content of the rules file for each way to break one rule."""
    for number, group in enumerate(rules["groups"]):
        for position, rule in enumerate(group["rules"]):
            changes = [("expr", broken) for broken in broken_expressions(rule["expr"])]
            for key in ("for", "keep_firing_for"):
                if key in rule:
                    amount, unit = int(rule[key][:-1]), rule[key][-1]
                    changes += [(key, f"{new}{unit}") for new in ({amount // 2, amount * 2} if amount else {600})]
            for key, value in changes:
                broken = copy.deepcopy(rules)
                broken["groups"][number]["rules"][position][key] = value
                yield f"{rule.get('alert') or rule['record']} with {key}: {value}", broken


def is_noticed(file, rules):
    """Returns whether a test fails with these rules in place of a rules file, or None if Prometheus rejects them."""
    with tempfile.TemporaryDirectory(dir=WORK) as directory:
        with open(f"{directory}/rules.yaml", "w", encoding="utf-8") as broken_file:
            yaml.safe_dump(rules, broken_file)
        if subprocess.run([f"{BIN}/promtool", "check", "rules", f"{directory}/rules.yaml"], capture_output=True, check=False).returncode:
            return None
        for test in TESTS:
            with open(test, encoding="utf-8") as original:
                text = original.read()
            if f"../../../{file}" not in text:
                continue
            copied = f"{directory}/{os.path.basename(test)}"
            with open(copied, "w", encoding="utf-8") as copy_of_test:
                copy_of_test.write(text.replace(f"../../../{file}", "rules.yaml"))
            if subprocess.run([f"{BIN}/promtool", "test", "rules", copied], capture_output=True, check=False).returncode:
                return True
        return False


if __name__ == "__main__":
    broken = []
    for name in FILES:
        with open(name, encoding="utf-8") as file:
            broken += [(name, *one) for one in broken_rules(yaml.safe_load(file))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        noticed = list(pool.map(is_noticed, [name for name, _, _ in broken], [rules for _, _, rules in broken]))
    for (_, description, _), result in zip(broken, noticed):
        check(f"the tests notice {description}", result is not False)
    print(f"  the tests notice {noticed.count(True)} broken rules; Prometheus rejects {noticed.count(None)} others")
    finish()
