"""Checks the shipped alert rules: their unit tests in promtool, the example configuration in Alertmanager, and an outage and the demo in Prometheus.

Usage: alerts.py BINARY BIN WORK    (the exporter, a directory with the programs of Prometheus and Alertmanager, and a directory for files)
"""

import glob
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import checks
from kinds import arn, integration
from pager import Rules
from processes import Server
from checks import check, control, control_path, finish, query, replace_integrations, wait_for

BINARY, BIN, WORK = sys.argv[1:4]
RULES, EXAMPLE = ["deploy/prometheus/alerts.yaml", "deploy/prometheus/freshness.yaml"], "deploy/prometheus/alertmanager.example.yaml"
BROKEN, HEALTHY = arn(1), arn(2)
STATUS = "integration:aws_glue_integration_status:max == 1"
TESTS = sorted(glob.glob("tests/system/alerts/*.test.yaml"))
DETECTION_TIMEOUT = 40
# Integrations of the demo that Glue reports as ACTIVE: a table of the first one fails, and the tables of the second one are silent.
DEMO_FAILING = "arn:aws:glue:eu-west-1:111122223333:integration:1b7d2c94-8e1f-4f0e-b7a3-2c9d4e5f6a02"
DEMO_SILENT = "arn:aws:glue:eu-west-1:111122223333:integration:3f8e7d6c-5b4a-4938-8271-605f4e3d2c04"


def run(description, *command):
    """Runs a command, checks that it succeeds, and returns its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    check(description, done.returncode == 0, done.stdout + done.stderr)
    return done.stdout


def unit_tests():
    run("promtool accepts the rules", f"{BIN}/promtool", "check", "rules", *RULES)
    for file in TESTS:
        run(file, f"{BIN}/promtool", "test", "rules", file)
        print(f"  {file}")


def alertmanager():
    run("amtool accepts the example configuration", f"{BIN}/amtool", "check-config", EXAMPLE)
    for labels, receiver in [
        (["alertname=GlueIntegrationFailed", "severity=critical"], "pager"),
        (["alertname=GlueExporterDown", "severity=critical"], "pager"),
        (["alertname=GlueIntegrationStuck", "severity=warning"], "chat"),
        (["alertname=NodeDown", "severity=critical"], "chat"),
    ]:
        routed = run("amtool prints the route", f"{BIN}/amtool", "config", "routes", "test", f"--config.file={EXAMPLE}", *labels)
        check(f"{labels} goes to {receiver}", routed.strip() == receiver, routed)

    command = [f"{BIN}/alertmanager", f"--config.file={EXAMPLE}", f"--storage.path={WORK}/alertmanager", "--cluster.listen-address="]
    server = Server("alerts-alertmanager", WORK, command, "--web.listen-address").start()
    amtool = [f"{BIN}/amtool", f"--alertmanager.url={server.url}"]
    scope_labels = ["scope=lake", "aws_region=eu-west-1"]
    alerts = [
        ["GlueExporterBlind", *scope_labels],
        ["GlueExporterScopeFailing", *scope_labels],
        ["GlueExporterScopeFailing", "scope=sea", "aws_region=eu-west-1"],
        ["GlueIntegrationFailed", "aws_region=eu-west-1", f"integration_arn={BROKEN}"],
    ]
    for name, *labels in alerts:
        run("amtool adds an alert", *amtool, "alert", "add", f"alertname={name}", *labels)

    def queried(*flags):
        found = json.loads(run("amtool queries alerts", *amtool, "--output=json", "alert", "query", *flags))
        return sorted((one["labels"]["alertname"], one["labels"].get("scope", "")) for one in found)

    wait_for("Alertmanager has all alerts", lambda: len(queried("--active", "--inhibited")) == len(alerts))
    check("GlueExporterBlind inhibits only alerts of its own scope", queried("--inhibited") == [("GlueExporterScopeFailing", "lake")], queried("--inhibited"))
    server.stop()


def statuses(expression):
    return {(labels["integration_arn"], labels["status"]) for labels, _ in query(prometheus.url, expression)}


def firing():
    return {(labels["alertname"], labels.get("integration_arn")) for labels, _ in query(prometheus.url, 'ALERTS{alertstate="firing"}')}


def start_prometheus(name, exporter, rule_files):
    with open(f"{WORK}/{name}.yml", "w", encoding="utf-8") as file:
        scraping = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        jobs = [{"job_name": "glue-integration-exporter", "static_configs": [{"targets": [exporter.address]}]}]
        json.dump({"global": scraping, "rule_files": rule_files, "scrape_configs": jobs}, file)
    command = [f"{BIN}/prometheus", f"--config.file={WORK}/{name}.yml", f"--storage.tsdb.path={WORK}/{name}-tsdb"]
    return Server(name, WORK, command, "--web.listen-address").start()


def demo():
    """Checks which alerts on freshness the demo causes. The durations of the rules are divided by 60, because its script takes ten minutes."""
    fires = {("GlueIntegrationTableFailing", DEMO_FAILING), ("GlueIntegrationDataOverdue", DEMO_SILENT)}
    freshness = set(Rules(RULES[1]).alerts)

    def active():
        found = {(labels["alertname"], labels.get("integration_arn")) for labels, _ in query(prometheus.url, "ALERTS")}
        return {alert for alert in found if alert[0] in freshness}

    wait_for("Prometheus is ready", ready)
    wait_for("the alerts on the two quiet failures of the demo fire", lambda: fires <= firing(), 2 * DETECTION_TIMEOUT)
    check("no other alert on freshness is pending or fires", active() == fires, active())
    for name, which in fires:
        labels = f'alertname="{name}", integration_arn="{which}"'
        check(f"{name} has only the labels of the integration", set(query(prometheus.url, f"ALERTS{{{labels}}}")[0][0]) - {"__name__"} == {
            "alertname", "alertstate", "severity", "aws_account_id", "aws_region", "integration_arn",
        })
    print("  a table of the demo that fails and a table that is silent cause an alert each, while Glue reports ACTIVE")


def ready():
    try:
        with urllib.request.urlopen(prometheus.url + "/-/ready", timeout=10):
            return True
    except urllib.error.HTTPError:
        return False


def outage():
    fires = {("GlueIntegrationNeedsAttention", BROKEN)}
    wait_for("Prometheus is ready", ready)
    wait_for("both integrations are ACTIVE", lambda: statuses(STATUS) == {(BROKEN, "ACTIVE"), (HEALTHY, "ACTIVE")})
    control("PATCH", control_path(BROKEN), {"Status": "NEEDS_ATTENTION"})
    wait_for("the alert fires", lambda: firing() == fires, DETECTION_TIMEOUT)
    with_labels = query(prometheus.url, 'ALERTS{alertstate="firing"}')[0][0]
    with_labels.pop("__name__", None)
    check("the alert has the expected labels", with_labels == {
        "alertname": "GlueIntegrationNeedsAttention", "alertstate": "firing", "severity": "critical", "status": "NEEDS_ATTENTION",
        "aws_account_id": checks.ACCOUNT, "aws_region": checks.REGION, "integration_arn": BROKEN,
    }, with_labels)

    expected = {(BROKEN, "NEEDS_ATTENTION"), (HEALTHY, "ACTIVE")}
    control("POST", "faults", {"Kind": "Error", "Code": "InternalServiceException"})
    wait_for("both integrations are stale", lambda: len(query(prometheus.url, "aws_glue_integration_stale == 1")) == 2, DETECTION_TIMEOUT)
    check("the outage changes neither status nor alert", statuses(STATUS) == expected and firing() == fires, (statuses(STATUS), firing()))
    control("DELETE", "faults")
    exporter.kill()
    wait_for("the exporter is down", lambda: query(prometheus.url, "up == 0"))
    check("the alert is kept while the exporter is down", firing() == fires, firing())
    exporter.start()
    wait_for("the exporter has polled", lambda: statuses(STATUS) == expected, DETECTION_TIMEOUT)
    check("the restart does not change the alert", firing() == fires, firing())

    control("PATCH", control_path(BROKEN), {"Status": "ACTIVE"})
    wait_for("the integration is ACTIVE again", lambda: statuses(STATUS) == {(BROKEN, "ACTIVE"), (HEALTHY, "ACTIVE")}, DETECTION_TIMEOUT)
    with urllib.request.urlopen(prometheus.url + "/metrics", timeout=10) as response:
        failures = re.findall(r"^prometheus_rule_evaluation_failures_total\{.*\} (.*)$", response.read().decode(), re.MULTILINE)
    check("no rule evaluation failed", failures and set(failures) == {"0"}, failures)
    print("  the alert kept firing during an outage and a restart of the exporter")


if __name__ == "__main__":
    unit_tests()
    alertmanager()

    simulator = Server("alerts-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    checks.SIMULATOR = simulator.url
    replace_integrations([{**integration(number, "ACTIVE"), "IntegrationArn": which} for number, which in enumerate([BROKEN, HEALTHY], 1)])
    config = {"polling": {"interval": "10s"}, "scopes": [{"name": "lake", "regions": [checks.REGION]}]}
    with open(f"{WORK}/alerts.yaml", "w", encoding="utf-8") as file:
        json.dump(config, file)  # JSON is valid YAML
    exporter = Server(
        "alerts-exporter", WORK, [BINARY, f"--config.file={WORK}/alerts.yaml"], "--web.listen-address", AWS_ENDPOINT_URL_GLUE=simulator.url
    ).start()
    prometheus = start_prometheus("alerts-prometheus", exporter, [os.path.abspath(file) for file in RULES])
    outage()
    for server in [exporter, prometheus, simulator]:
        server.stop()
        check(f"{server.name} stops", True)

    Rules(*RULES).write(f"{WORK}/demo-rules.yaml")
    exporter = Server("alerts-demo", WORK, [BINARY, "demo"], "--web.listen-address").start()
    prometheus = start_prometheus("demo-prometheus", exporter, [f"{WORK}/demo-rules.yaml"])
    demo()
    for server in [exporter, prometheus]:
        server.stop()
    finish()
