"""From a status at AWS to a notification: the exporter on the simulator, Prometheus with the rules of deploy/, Alertmanager, a webhook.

Usage: end_to_end.py BINARY PROGRAMS RULES WORK    (the exporter, a directory with Prometheus and Alertmanager, the rules, one for files)

A status that changes just after a poll waits longest. That is what is measured, and held to the sum of all intervals on the way.
"""

import json
import sys
import time
import urllib.request

import world
from kinds import arn, integration
from pager import EVALUATION, GROUP_INTERVAL, GROUP_WAIT, SCRAPE, Pager, Rules
from processes import Server
from world import ACCOUNT, REGION, check, control, control_path, finish, query, replace_world, value, wait_for

BINARY, PROGRAMS, RULES, WORK = sys.argv[1:5]
INTERVAL = 10  # of polls: the least that is allowed
# Requests, evaluations and a busy machine.
MARGIN = 4
JOB = "glue-integration-exporter"
ATTENTION, FAILS, WATCHED, QUIET = arn(1), arn(2), arn(3), arn(4)
GONE = "GlueExporterGone"
NAMES = {ATTENTION: "orders", FAILS: "customers", WATCHED: "shop", QUIET: "quiet"}

expected = set()


def made(which):
    return integration(list(NAMES).index(which) + 1, "ACTIVE", IntegrationName=NAMES[which])


def tell(what):
    print(f"  {what}")


def firing():
    return query(pager.prometheus.url, 'ALERTS{alertstate="firing"}')


def polls():
    """How many polls of the scope have ended, from the exporter's own page."""
    with urllib.request.urlopen(exporter.url + "/metrics", timeout=10) as response:
        page = response.read().decode()
    line = next(line for line in page.splitlines() if line.startswith("glue_integration_exporter_polls_total{") and 'scope="lake"' in line)
    return int(line.split()[-1])


def change(*changes):
    """Changes integrations, each a method, an ARN and a body, just after a poll. Returns the moment."""
    before = polls()
    wait_for("a poll ends", lambda: polls() > before, 2 * INTERVAL)
    now = time.time()
    for method, which, body in changes:
        answer = control(method, control_path(which), body)
        check(f"{method} {NAMES[which]}", answer[0] == 204, answer)
    return time.time()


def within(alert, resolved=False):
    """The longest that a notification may take after a change, and what of."""
    steps = {"poll": INTERVAL, "scrape": SCRAPE, "evaluation": EVALUATION}
    if resolved:
        steps["keep_firing_for"] = pager.rules.wait(alert, "keep_firing_for")
        steps["group interval"] = GROUP_INTERVAL
    else:
        steps["for"] = pager.rules.wait(alert, "for")
        steps["group wait"] = GROUP_WAIT
    return sum(steps.values()), " + ".join(f"{name} {length:g}" for name, length in steps.items())


def notified(alert, since, status="firing", **labels):
    """Waits for the one notification, and holds it to its time. Returns it."""
    expected.add((alert, labels.get("integration_arn")))
    longest, steps = within(alert, status == "resolved")

    def probe():
        return [one for one in pager.receiver.of(alert, status, **labels) if one["at"] >= since]

    found = wait_for(f"{alert} is {status}", probe, longest + 60)
    took = found[0]["at"] - since
    check(f"{alert} is {status} in time", took <= longest + MARGIN, f"after {took:.1f} s of {steps}")
    tell(f"{alert} {status}: notified after {took:.1f} s; at most {steps} = {longest:g} s and {MARGIN} s of margin")
    return found[0]


def names_the_integration(alert, notification, which, severity):
    labels, annotations = notification["labels"], notification["annotations"]
    want = {"alertname": alert, "severity": severity, "aws_account_id": ACCOUNT, "aws_region": REGION, "integration_arn": which}
    check(f"{alert} has these labels and no other", labels == want, labels)
    source, target = made(which)["SourceArn"], made(which)["TargetArn"]
    summary = annotations["summary"]
    check(f"{alert} has the name, the source and the target", f"{NAMES[which]} ({source} -> {target})" in summary, summary)
    check(f"{alert} has a description and a runbook", annotations.get("description") and alert.lower() in annotations.get("runbook_url", ""), annotations)
    tell(f"  {summary}")


def restart_while_firing(alert, which):
    """Longer than what fires is kept for: it is not that alone which bridges a restart."""
    away = pager.rules.wait(alert, "keep_firing_for") + 5
    killed = time.time()
    exporter.kill()
    gone = wait_for(f"{GONE} fires", lambda: pager.receiver.of(GONE, "firing"), away + 60)
    expected.add((GONE, None))
    check(f"{GONE} names the job", gone[0]["labels"].get("job") == JOB and gone[0]["labels"]["severity"] == "critical", gone[0]["labels"])
    tell(f"{GONE} firing: notified {gone[0]['at'] - killed:.1f} s after the exporter was killed")
    wait_for("the exporter has been away", lambda: time.time() > killed + away, away + 10)
    exporter.start()
    wait_for("Prometheus has scraped it", lambda: value(pager.prometheus.url, "glue_integration_exporter_scope_up") == 1, 30)
    resolved = notified_of_return(alert)
    check(f"{alert} does not end by a restart", not pager.receiver.of(alert, "resolved", integration_arn=which), pager.receiver.of(alert))
    check(f"{alert} is told once", len(pager.receiver.of(alert, "firing", integration_arn=which)) == 1, pager.receiver.of(alert))
    still = [labels for labels, _ in firing() if labels["alertname"] == alert and labels["integration_arn"] == which]
    check(f"{alert} still fires", len(still) == 1, firing())
    tell(f"{alert} went on firing while the exporter was killed, away for {away:g} s and started again ({GONE} resolved after {resolved:.1f} s)")


def notified_of_return(alert):
    """Waits until the exporter is known to be back, and as long again as a lost alert would be kept for. Returns the seconds."""
    since = time.time()
    back_at = wait_for(f"{GONE} is resolved", lambda: pager.receiver.of(GONE, "resolved"), 60)[0]["at"]
    until = back_at + pager.rules.wait(alert, "keep_firing_for") + 2 * EVALUATION + GROUP_INTERVAL + 1
    wait_for("a lost alert would have ended", lambda: time.time() > until, 60)
    return back_at - since


def main():
    began = time.monotonic()
    wait_for("the names are known", lambda: value(pager.prometheus.url, 'count(aws_glue_integration_info{integration_name!=""})') == 4)
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
    since = change(("PATCH", FAILS, {"Status": "ACTIVE"}), ("PUT", WATCHED, made(WATCHED)))
    for alert, which in both.items():
        notified(alert, since, "resolved", integration_arn=which)

    told = {(alert["labels"]["alertname"], alert["labels"].get("integration_arn")) for alert in pager.receiver.arrived}
    check("nobody was told anything else", told == expected, told ^ expected)
    check("nothing fires at the end", not firing(), firing())
    tell(f"took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    simulator = Server("end-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    world.SIMULATOR = simulator.url
    replace_world([made(which) for which in NAMES])
    with open(f"{WORK}/end.yaml", "w", encoding="utf-8") as file:
        scope = {"name": "lake", "integration_arns": list(NAMES), "describe": True}
        json.dump({"polling": {"interval": f"{INTERVAL}s"}, "scopes": [scope]}, file)  # JSON is YAML, too
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
