"""Gives each snippet of the documentation to the program that reads it.

Usage: snippets.py BINARY PROGRAMS HELM WORK    (PROGRAMS has promtool and amtool)
"""

import configparser
import glob
import json
import os
import subprocess
import sys

import yaml
from markdown_it import MarkdownIt

from permissions import parliament_findings, trust_policy_findings
from validators import read, validation_errors
from checks import check, finish

BINARY, PROGRAMS, HELM, WORK = sys.argv[1:]
PROMTOOL, AMTOOL = (os.path.join(PROGRAMS, name) for name in ("promtool", "amtool"))
CHART = "deploy/helm/glue-integration-exporter"
CONFIGURATION = {"polling", "storage", "tag_labels", "scopes"}
WEB_CONFIGURATION = {"tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"}
PROMETHEUS = {"global", "scrape_configs", "rule_files", "alerting", "remote_write"}
CHART_VALUES = set(yaml.safe_load(read(f"{CHART}/values.yaml")))
CERTIFICATES = {"server.crt", "ca.crt", "prometheus.crt"}


def prepare():
    """Creates the files that snippets name."""
    for name in CERTIFICATES:
        key = f"{WORK}/{name.removesuffix('.crt')}.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1", "-keyout", key, "-out", f"{WORK}/{name}"],
            check=True, capture_output=True,
        )
    for name in "alerts.yaml", "freshness.yaml":
        with open(f"{WORK}/{name}", "w", encoding="utf-8") as file:
            file.write(read(f"deploy/prometheus/{name}"))
    for name in "password", "external-id":
        with open(f"{WORK}/{name}", "w", encoding="utf-8") as file:
            file.write("not-a-secret")


def complaint(command):
    """Returns what the program prints if it rejects its input."""
    ended = subprocess.run(command, cwd=WORK, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return ended.stdout if ended.returncode else ""


def yaml_complaint(text, path):
    """Returns why the program that reads the snippet rejects it."""
    found = [document for document in yaml.safe_load_all(text) if document]
    keys = set(found[0])
    if all({"apiVersion", "kind"} <= set(document) for document in found):
        return [error for document in found for error in validation_errors(document)]
    if keys <= CONFIGURATION:
        return complaint([BINARY, "check", f"--config.file={path}"])
    if keys <= WEB_CONFIGURATION:
        with open(f"{WORK}/one-scope.yaml", "w", encoding="utf-8") as file:
            file.write("scopes: [{name: a, regions: [eu-west-1]}]\n")
        return complaint([BINARY, "check", "--config.file=one-scope.yaml", f"--web.config.file={path}"])
    if keys <= PROMETHEUS:
        return complaint([PROMTOOL, "check", "config", path])
    if keys == {"groups"}:
        return complaint([PROMTOOL, "check", "rules", path])
    if "route" in keys:
        return complaint([AMTOOL, "check-config", path])
    if keys <= CHART_VALUES:
        return complaint([HELM, "template", "release", os.path.abspath(CHART), "--values", path])
    if keys == {"apiVersion", "providers"}:
        # Grafana has no program that checks its files.
        return "" if found[0]["providers"][0]["options"]["path"] else "no path"
    return f"no program is known for the keys {sorted(keys)}"


def json_complaint(text):
    document = json.loads(text)
    if "Statement" not in document:
        document = {"Version": "2012-10-17", "Statement": [document]}
    if any("Principal" in statement for statement in document["Statement"]):
        return trust_policy_findings(document)
    return parliament_findings(document)


def promql_complaint(text, path):
    queries = [" ".join(line for line in part.splitlines() if not line.startswith("#")) for part in text.split("\n\n")]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries) if query.strip()]
    with open(path, "w", encoding="utf-8") as file:
        yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}, file)
    return complaint([PROMTOOL, "check", "rules", path]) if rules else "no query"


def complaint_about(language, text, path):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    match language:
        case "yaml":
            return yaml_complaint(text, path)
        case "json":
            return json_complaint(text)
        case "promql":
            return promql_complaint(text, path)
        case "ini":
            unit = configparser.ConfigParser(strict=False, allow_no_value=True)
            unit.read_string(text)
            return "" if unit.sections() else "no section"
        case "console" | "text":
            return ""
    return f"unknown language {language!r}"


def snippets():
    pages = ["README.md", "CONTRIBUTING.md", *sorted(glob.glob("docs/**/*.md", recursive=True))]
    for page in pages:
        for token in MarkdownIt().parse(read(page)):
            if token.type == "fence":
                yield page, token.map[0] + 1, token.info.strip(), token.content


def main():
    prepare()
    counts = {}
    for number, (page, line, language, text) in enumerate(snippets()):
        counts[language] = counts.get(language, 0) + 1
        problem = complaint_about(language, text, f"{WORK}/snippet-{number}.yaml")
        check(f"{page}:{line}: {language}", not problem, problem)
    check("there are snippets of every kind", all(counts.get(language, 0) > 2 for language in ("yaml", "json", "promql", "console")), counts)
    finish()


main()
