"""The shipped alert rules: their unit tests by promtool, the example for Alertmanager in one, and an outage in a real Prometheus.

Usage: alerts.py BINARY BIN WORK    (the exporter, a directory with Prometheus' and Alertmanager's programs, one for files)
"""

import glob
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import world
from kinds import arn, integration
from processes import Server
from world import check, control, control_path, finish, query, replace_world, wait_for

BINARY, BIN, WORK = sys.argv[1:4]
RULES, EXAMPLE = "deploy/prometheus/alerts.yaml", "deploy/prometheus/alertmanager.example.yaml"
BROKEN, QUIET = arn(1), arn(2)
KEPT = "integration:aws_glue_integration_status:last"
SEEN_WITHIN = 40


def run(what, *command):
    """The output of a command that must end well."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    check(what, done.returncode == 0, done.stdout + done.stderr)
    return done.stdout


def unit_tests():
    run("promtool accepts the rules", f"{BIN}/promtool", "check", "rules", RULES)
    for file in sorted(glob.glob("tests/world/alerts/*.test.yaml")):
        run(file, f"{BIN}/promtool", "test", "rules", file)
        print(f"  {file}")


def alertmanager():
    run("amtool accepts the example", f"{BIN}/amtool", "check-config", EXAMPLE)
    for labels, receiver in [
        (["alertname=GlueIntegrationFailed", "severity=critical"], "pager"),
        (["alertname=GlueExporterBlind", "severity=critical"], "pager"),
        (["alertname=GlueIntegrationStuck", "severity=warning"], "chat"),
        (["alertname=NodeDown", "severity=critical"], "chat"),
    ]:
        routed = run("amtool routes", f"{BIN}/amtool", "config", "routes", "test", f"--config.file={EXAMPLE}", *labels)
        check(f"{labels} goes to {receiver}", routed.strip() == receiver, routed)

    command = [f"{BIN}/alertmanager", f"--config.file={EXAMPLE}", f"--storage.path={WORK}/alertmanager", "--cluster.listen-address="]
    server = Server("alerts-alertmanager", WORK, command, "--web.listen-address").start()
    amtool = [f"{BIN}/amtool", f"--alertmanager.url={server.url}"]
    blind = ["scope=lake", "aws_region=eu-west-1"]
    alerts = [
        ["GlueExporterBlind", *blind],
        ["GlueExporterThrottled", *blind],
        ["GlueExporterThrottled", "scope=sea", "aws_region=eu-west-1"],
        ["GlueIntegrationFailed", "aws_region=eu-west-1", f"integration_arn={BROKEN}"],
    ]
    for name, *labels in alerts:
        run("an alert is added", *amtool, "alert", "add", f"alertname={name}", *labels)

    def seen(*flags):
        found = json.loads(run("alerts are asked for", *amtool, "--output=json", "alert", "query", *flags))
        return sorted((one["labels"]["alertname"], one["labels"].get("scope", "")) for one in found)

    wait_for("all alerts are there", lambda: len(seen("--active", "--inhibited")) == len(alerts))
    check("a scope that is blind mutes its own reasons alone", seen("--inhibited") == [("GlueExporterThrottled", "lake")], seen("--inhibited"))
    server.stop()


def statuses(expression):
    return {(labels["integration_arn"], labels["status"]) for labels, _ in query(prometheus.url, expression)}


def firing():
    return {(labels["alertname"], labels.get("integration_arn")) for labels, _ in query(prometheus.url, 'ALERTS{alertstate="firing"}')}


def evaluated(series, since):
    """The moments at which a series has a sample."""
    url = f"{prometheus.url}/api/v1/query?" + urllib.parse.urlencode({"query": f"{series}[{int(time.time() - since) + 1}s]"})
    with urllib.request.urlopen(url, timeout=30) as response:
        (one,) = json.load(response)["data"]["result"]
    return [float(at) for at, _ in one["values"]]


def ready():
    try:
        with urllib.request.urlopen(prometheus.url + "/-/ready", timeout=10):
            return True
    except urllib.error.HTTPError:
        return False


def outage():
    shown = "aws_glue_integration_status == 1"
    fires = {("GlueIntegrationNeedsAttention", BROKEN)}
    wait_for("Prometheus is ready", ready)
    wait_for("all is well", lambda: statuses(KEPT) == {(BROKEN, "ACTIVE"), (QUIET, "ACTIVE")})
    control("PATCH", control_path(BROKEN), {"Status": "NEEDS_ATTENTION"})
    wait_for("it fires", lambda: firing() == fires, SEEN_WITHIN)
    with_labels = query(prometheus.url, 'ALERTS{alertstate="firing"}')[0][0]
    with_labels.pop("__name__", None)
    check("with these labels", with_labels == {
        "alertname": "GlueIntegrationNeedsAttention", "alertstate": "firing", "severity": "critical",
        "aws_account_id": world.ACCOUNT, "aws_region": world.REGION, "integration_arn": BROKEN,
    }, with_labels)

    began = time.time()
    kept = {(BROKEN, "NEEDS_ATTENTION"), (QUIET, "ACTIVE")}
    control("POST", "faults", {"Kind": "Error", "Code": "InternalServiceException"})
    wait_for("its series have ended", lambda: not statuses(shown), 2 * SEEN_WITHIN)
    check("what was last seen is kept", statuses(KEPT) == kept, statuses(KEPT))
    exporter.kill()
    wait_for("the exporter is away", lambda: query(prometheus.url, "up == 0"))
    exporter.start()
    wait_for("it has polled", lambda: query(prometheus.url, "glue_integration_exporter_scope_up == 0"), SEEN_WITHIN)
    check("a new process changes nothing", statuses(KEPT) == kept and firing() == fires, (statuses(KEPT), firing()))
    moments = evaluated(f'{KEPT}{{status="NEEDS_ATTENTION"}}', began)
    gap = max(after - before for before, after in zip(moments, moments[1:]))
    # Evaluated each second, by a machine that may be busy.
    check("at no moment", gap < 3 and time.time() - moments[-1] < 3, moments)

    control("PATCH", control_path(BROKEN), {"Status": "ACTIVE"})
    control("DELETE", "faults")
    wait_for("it is mended", lambda: statuses(KEPT) == {(BROKEN, "ACTIVE"), (QUIET, "ACTIVE")}, SEEN_WITHIN)
    with urllib.request.urlopen(prometheus.url + "/metrics", timeout=10) as response:
        failures = re.findall(r"^prometheus_rule_evaluation_failures_total\{.*\} (.*)$", response.read().decode(), re.MULTILINE)
    check("each rule could be evaluated at each moment", failures == ["0"], failures)
    print("  an alert was held over an outage that its series did not outlive, and over a restart in it")


if __name__ == "__main__":
    unit_tests()
    alertmanager()

    simulator = Server("alerts-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    world.SIMULATOR = simulator.url
    replace_world([{**integration(number, "ACTIVE"), "IntegrationArn": which} for number, which in enumerate([BROKEN, QUIET], 1)])
    config = {"polling": {"interval": "10s", "stale_after": "20s"}, "scopes": [{"name": "lake", "regions": [world.REGION]}]}
    with open(f"{WORK}/alerts.yaml", "w", encoding="utf-8") as file:
        json.dump(config, file)  # JSON is YAML, too
    exporter = Server(
        "alerts-exporter", WORK, [BINARY, f"--config.file={WORK}/alerts.yaml"], "--web.listen-address", AWS_ENDPOINT_URL_GLUE=simulator.url
    ).start()
    with open(f"{WORK}/alerts-prometheus.yml", "w", encoding="utf-8") as file:
        scraping = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        jobs = [{"job_name": "glue-integration-exporter", "static_configs": [{"targets": [exporter.address]}]}]
        json.dump({"global": scraping, "rule_files": [os.path.abspath(RULES)], "scrape_configs": jobs}, file)
    command = [f"{BIN}/prometheus", f"--config.file={WORK}/alerts-prometheus.yml", f"--storage.tsdb.path={WORK}/alerts-tsdb"]
    prometheus = Server("alerts-prometheus", WORK, command, "--web.listen-address").start()
    outage()
    for server in [exporter, prometheus, simulator]:
        server.stop()
        check(f"{server.name} stops", True)
    finish()
