"""Checks the path from a status in AWS to a notification: simulator, exporter, Prometheus with the rules of deploy/, Alertmanager, webhook.

Usage: end_to_end.py BINARY PROGRAMS RULES WORK    (the exporter, a directory with Prometheus and Alertmanager, the rules, a directory for files)

It measures the worst case, a status that changes just after a poll. The limit is the sum of all intervals on the path.
"""

import json
import sys
import time
import urllib.request

import checks
from kinds import arn, integration
from pager import EVALUATION, GROUP_INTERVAL, GROUP_WAIT, SCRAPE, Pager, Rules
from processes import Server
from checks import ACCOUNT, REGION, check, control, control_path, finish, query, replace_integrations, value, wait_for

BINARY, PROGRAMS, RULES, WORK = sys.argv[1:5]
INTERVAL = 10  # seconds between polls, the minimum
# Seconds for requests, evaluations and a busy machine.
MARGIN = 4
JOB = "glue-integration-exporter"
ATTENTION, FAILS, WATCHED, QUIET = arn(1), arn(2), arn(3), arn(4)
DOWN = "GlueExporterDown"
STATUSES = {"GlueIntegrationNeedsAttention": "NEEDS_ATTENTION", "GlueIntegrationFailed": "FAILED"}
NAMES = {ATTENTION: "orders", FAILS: "customers", WATCHED: "shop", QUIET: "quiet"}

expected = set()


def active_integration(which):
    return integration(list(NAMES).index(which) + 1, "ACTIVE", IntegrationName=NAMES[which])


def report(text):
    print(f"  {text}")


def firing():
    return query(pager.prometheus.url, 'ALERTS{alertstate="firing"}')


def polls():
    """Returns the number of completed polls of the scope, from /metrics."""
    with urllib.request.urlopen(exporter.url + "/metrics", timeout=10) as response:
        page = response.read().decode()
    line = next(line for line in page.splitlines() if line.startswith("glue_integration_exporter_polls_total{") and 'scope="lake"' in line)
    return int(line.split()[-1])


def change(*changes):
    """Sends changes, given as (method, ARN, body), just after a poll. Returns the time of the changes."""
    before = polls()
    wait_for("a poll ends", lambda: polls() > before, 2 * INTERVAL)
    for method, which, body in changes:
        answer = control(method, control_path(which), body)
        check(f"{method} {NAMES[which]}", answer[0] == 204, answer)
    return time.time()


def max_latency(alert, resolved=False):
    """Returns the maximum time from a change to its notification, and its parts as text."""
    steps = {"poll": INTERVAL, "scrape": SCRAPE, "evaluation": EVALUATION}
    if resolved:
        steps["keep_firing_for"] = pager.rules.wait(alert, "keep_firing_for")
        steps["group interval"] = GROUP_INTERVAL
    else:
        steps["for"] = pager.rules.wait(alert, "for")
        steps["group wait"] = GROUP_WAIT
    return sum(steps.values()), " + ".join(f"{name} {length:g}" for name, length in steps.items())


def notified(alert, since, status="firing", **labels):
    """Waits for the notification, checks its latency, and returns it."""
    expected.add((alert, labels.get("integration_arn")))
    longest, steps = max_latency(alert, status == "resolved")

    def probe():
        return [one for one in pager.receiver.alerts(alert, status, **labels) if one["at"] >= since]

    found = wait_for(f"{alert} is {status}", probe, longest + 60)
    took = found[0]["at"] - since
    check(f"{alert} is {status} in time", took <= longest + MARGIN, f"after {took:.1f} s of {steps}")
    report(f"{alert} {status}: notified after {took:.1f} s; at most {steps} = {longest:g} s and {MARGIN} s of margin")
    return found[0]


def names_the_integration(alert, notification, which, severity):
    labels, annotations = notification["labels"], notification["annotations"]
    want = {"alertname": alert, "severity": severity, "aws_account_id": ACCOUNT, "aws_region": REGION, "integration_arn": which}
    if alert in STATUSES:
        want["status"] = STATUSES[alert]
    check(f"{alert} has these labels and no other", labels == want, labels)
    source, target = active_integration(which)["SourceArn"], active_integration(which)["TargetArn"]
    summary = annotations["summary"]
    check(f"{alert} has the name, the source and the target", f"{NAMES[which]} ({source} -> {target})" in summary, summary)
    check(f"{alert} has a description and a runbook", annotations.get("description") and alert.lower() in annotations.get("runbook_url", ""), annotations)
    report(f"  {summary}")


def restart_while_firing(alert, which):
    """Checks that an alert keeps firing over a restart which is shorter than `keep_firing_for`, and is long enough for a page."""
    downtime = pager.rules.wait(alert, "keep_firing_for") - 6
    killed = time.time()
    exporter.kill()
    down = wait_for(f"{DOWN} fires", lambda: pager.receiver.alerts(DOWN, "firing"), downtime + 60)
    expected.add((DOWN, None))
    check(f"{DOWN} names the job", down[0]["labels"].get("job") == JOB and down[0]["labels"]["severity"] == "critical", down[0]["labels"])
    report(f"{DOWN} firing: notified {down[0]['at'] - killed:.1f} s after the exporter was killed")
    wait_for("the downtime is over", lambda: time.time() > killed + downtime, downtime + 10)
    exporter.start()
    wait_for("Prometheus has scraped the exporter", lambda: value(pager.prometheus.url, "glue_integration_exporter_scope_up") == 1, 30)
    resolved = wait_for_return(alert)
    check(f"{alert} is not resolved by the restart", not pager.receiver.alerts(alert, "resolved", integration_arn=which), pager.receiver.alerts(alert))
    check(f"{alert} is notified once", len(pager.receiver.alerts(alert, "firing", integration_arn=which)) == 1, pager.receiver.alerts(alert))
    still = [labels for labels, _ in firing() if labels["alertname"] == alert and labels["integration_arn"] == which]
    check(f"{alert} still fires", len(still) == 1, firing())
    report(f"{alert} kept firing while the exporter was down for {downtime:g} s and after its restart ({DOWN} resolved after {resolved:.1f} s)")


def wait_for_return(alert):
    """Waits until GlueExporterDown is resolved and until a lost alert would have been resolved. Returns the seconds until GlueExporterDown was resolved."""
    since = time.time()
    back_at = wait_for(f"{DOWN} is resolved", lambda: pager.receiver.alerts(DOWN, "resolved"), 60)[0]["at"]
    until = back_at + pager.rules.wait(alert, "keep_firing_for") + 2 * EVALUATION + GROUP_INTERVAL + 1
    wait_for("a lost alert would have ended", lambda: time.time() > until, 60)
    return back_at - since


def main():
    began = time.monotonic()
    wait_for("the names are exported", lambda: value(pager.prometheus.url, 'count(aws_glue_integration_info{integration_name!=""})') == 4)
    check("nothing fires at rest", not firing(), firing())

    alert, which = "GlueIntegrationNeedsAttention", ATTENTION
    since = change(("PATCH", which, {"Status": "NEEDS_ATTENTION", "Errors": [{"ErrorCode": "AccessDenied"}]}))
    names_the_integration(alert, notified(alert, since, integration_arn=which), which, "critical")
    restart_while_firing(alert, which)
    since = change(("PATCH", which, {"Status": "ACTIVE", "Errors": []}))
    notified(alert, since, "resolved", integration_arn=which)

    both = {"GlueIntegrationFailed": FAILS, "GlueIntegrationMissing": WATCHED}
    since = change(("PATCH", FAILS, {"Status": "FAILED"}), ("DELETE", WATCHED, None))
    for alert, which in both.items():
        names_the_integration(alert, notified(alert, since, integration_arn=which), which, "critical")
    since = change(("PATCH", FAILS, {"Status": "ACTIVE"}), ("PUT", WATCHED, active_integration(WATCHED)))
    for alert, which in both.items():
        notified(alert, since, "resolved", integration_arn=which)

    notified_alerts = {(alert["labels"]["alertname"], alert["labels"].get("integration_arn")) for alert in pager.receiver.arrived}
    check("there are no other notifications", notified_alerts == expected, notified_alerts ^ expected)
    check("nothing fires at the end", not firing(), firing())
    report(f"took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    simulator = Server("end-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    checks.SIMULATOR = simulator.url
    replace_integrations([active_integration(which) for which in NAMES])
    with open(f"{WORK}/end.yaml", "w", encoding="utf-8") as file:
        scope = {"name": "lake", "integration_arns": list(NAMES), "describe": True}
        json.dump({"polling": {"interval": f"{INTERVAL}s"}, "scopes": [scope]}, file)  # JSON is valid YAML
    exporter = Server(
        "end-exporter", WORK, [BINARY, f"--config.file={WORK}/end.yaml"], "--web.listen-address", AWS_ENDPOINT_URL_GLUE=simulator.url,
    ).start()
    job = {"job_name": JOB, "static_configs": [{"targets": [exporter.address]}]}
    pager = Pager(WORK, PROGRAMS, Rules(RULES), [job])
    main()
    pager.stop()
    exporter.stop()
    simulator.stop()
    finish()
