"""Runs docs/fire-drill.md with its commands, files and ports, while another exporter watches a real integration.

Usage: fire_drill.py BINARY PROGRAMS RULES PAGE WORK    (like end_to_end.py; as root, in its own network namespace)
"""

import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
import urllib.request

import yaml

import checks
from doc_blocks import code_blocks, commands
from kinds import integration
from pager import EVALUATION, GROUP_INTERVAL, GROUP_WAIT, SCRAPE, Pager, Rules, seconds
from processes import Server, die_with_parent
from checks import check, finish, query, replace_integrations, value, wait_for

BINARY, PROGRAMS, RULES, PAGE, WORK = sys.argv[1:6]
INTERVAL = 10
# Maximum latency in seconds, with one more evaluation for recording rules and a margin for a busy machine.
MAX_LATENCY = INTERVAL + SCRAPE + EVALUATION + GROUP_WAIT + 10
# GlueExporterScopeFailing averages over 20 seconds, which are 20 minutes for the unscaled rule.
AVERAGED = 20
# Seconds until a run of a table ends, and until the exporter has asked CloudWatch twice.
FRESHNESS_LATENCY = 60 + 2 * 60
FRESHNESS = "deploy/prometheus/freshness.yaml"
ATTENTION, TABLE_FAILING, DATA_OVERDUE = "GlueIntegrationNeedsAttention", "GlueIntegrationTableFailing", "GlueIntegrationDataOverdue"


def loopback_up():
    """Brings up the loopback interface, which is down in a new network namespace."""
    up, running, set_flags = 0x1, 0x40, 0x8914
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", up | running))


def responds(where):
    try:
        with urllib.request.urlopen("http://localhost:" + where, timeout=5):
            return True
    except OSError:
        return False


class Terminal:
    """Runs the commands of a user. Variable assignments apply to all later commands."""

    def __init__(self):
        self.assigned, self.servers = [], {}

    def run(self, command):
        if re.fullmatch(r"[A-Z]+=\S+", command):
            self.assigned.append(command)
            return ""
        done = subprocess.run(
            ["bash", "-euc", "\n".join([*self.assigned, command])], cwd=WORK, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        )
        check(f"{command} works", done.returncode == 0, done.stderr[-500:])
        return done.stdout

    def start_server(self, name, command):
        with open(f"{WORK}/drill-{name}.log", "ab") as log:
            self.servers[name] = subprocess.Popen(
                ["bash", "-euc", "exec env " + command], cwd=WORK, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,
            )

    def ctrl_c(self, name):
        self.servers[name].send_signal(2)
        status = self.servers[name].wait(30)
        check(f"{name} stops on Ctrl-C", status == 0, status)


def wait_for_alert(alert, status="firing", after=0.0, **labels):
    """Waits for a notification that arrived after `after`."""
    key = "for" if status == "firing" else "keep_firing_for"
    timeout = MAX_LATENCY + pager.rules.wait(alert, key) + GROUP_INTERVAL + AVERAGED * (alert == "GlueExporterScopeFailing")
    timeout += FRESHNESS_LATENCY * (alert in (TABLE_FAILING, DATA_OVERDUE))
    found = wait_for(f"{alert} arrives: {status}", lambda: [one for one in pager.receiver.alerts(alert, status, **labels) if one["at"] >= after], timeout)
    check(f"{alert} arrives: {status}", True)
    print(f"  {alert} {status} after {found[0]['at'] - after:.0f} s" if after else f"  {alert} {status}")
    return found[0]


def drill(text):
    terminal = Terminal()
    remaining = list(commands(text))
    yamls = [yaml.safe_load(block) for block in code_blocks(text, "yaml")]
    exporters = [content for content in yamls if "scopes" in content]
    scrapes = [content["scrape_configs"] for content in yamls if "scrape_configs" in content]
    check("the drill has one configuration of the exporter and one of Prometheus", len(exporters) == len(scrapes) == 1, yamls)
    with open(f"{WORK}/drill.yaml", "w", encoding="utf-8") as file:
        file.write(next(block for block in code_blocks(text, "yaml") if "scopes:" in block))
    [which] = exporters[0]["scopes"][0]["integration_arns"]
    region, account = which.split(":")[3:5]

    def next_command(start):
        """Returns the next command of the page, and checks how it starts."""
        command = remaining.pop(0)
        check(f"the next step is {start}", command.startswith(start), command)
        return command

    terminal.start_server("simulator", next_command("glue-integration-exporter simulate"))
    terminal.run(next_command("DRILL="))
    create = next_command("curl -fsS -X PUT $DRILL")
    wait_for("the simulator listens", lambda: responds("10059/simulator/requests"))
    terminal.run(create)
    start = next_command("AWS_ENDPOINT_URL=http://localhost:10059 ")
    terminal.start_server("exporter", start)
    wait_for("the exporter is ready", lambda: responds("10068/-/ready"))
    shown = terminal.run(next_command("curl -fsS localhost:10068/metrics"))
    check("the metrics say that the drill's integration is ACTIVE", f'integration_arn="{which}",status="ACTIVE"}} 1' in shown, shown)

    pager.write_config([OWN, *scrapes[0]])
    terminal.run(next_command("curl -fsS -X POST localhost:9090/-/reload"))
    wait_for("Prometheus scrapes the drill", lambda: value(pager.prometheus.url, f'count(aws_glue_integration_status{{aws_region="{region}"}} == 1)') == 1)
    check("there is no notification yet", not pager.receiver.arrived, pager.receiver.arrived)

    for alert in (TABLE_FAILING, DATA_OVERDUE):
        flipped = time.time()
        terminal.run(next_command("curl -fsS -X PATCH $DRILL -d '{\"Tables\": "))
        wait_for_alert(alert, after=flipped, integration_arn=which)
    flipped = time.time()
    terminal.run(next_command("curl -fsS -X PATCH $DRILL -d '{\"Tables\": "))
    for alert in (TABLE_FAILING, DATA_OVERDUE):
        wait_for_alert(alert, "resolved", flipped)
    others = {alert["labels"]["alertname"] for alert in pager.receiver.arrived} - {TABLE_FAILING, DATA_OVERDUE}
    check("only the alerts on the tables fire", not others, others)

    flipped = time.time()
    terminal.run(next_command("curl -fsS -X PATCH $DRILL -d '{\"Status\": \"NEEDS_ATTENTION\"}'"))
    page = wait_for_alert(ATTENTION, after=flipped)
    labels, summary = page["labels"], page["annotations"]["summary"]
    want = {"alertname": ATTENTION, "severity": "critical", "aws_account_id": account, "aws_region": region, "integration_arn": which, "status": "NEEDS_ATTENTION"}
    check("the notification has the labels of the drill", labels == want, labels)
    check("the page contains the summary of the notification", summary in " ".join(text.split()), summary)
    for where in ("localhost:9090/api/v1/alerts", "localhost:9093/api/v2/alerts"):
        check(f"{where} has it", which in terminal.run(next_command("curl -fsS " + where)))

    flipped = time.time()
    terminal.run(next_command("curl -fsS -X PATCH $DRILL -d '{\"Status\": \"ACTIVE\"}'"))
    wait_for_alert(ATTENTION, "resolved", flipped)
    rehearsed = time.time()
    rehearse(text, terminal, start)
    early = pager.receiver.alerts("GlueIntegrationMissing", "resolved")
    check("GlueIntegrationMissing is not resolved while the exporter is gone", not early, early)
    repaired = time.time()
    for command in (next_command("curl -fsS -X DELETE localhost:10059/simulator/faults"), create):
        terminal.run(command)
    check("all commands of the drill were run", not remaining, remaining)
    # GlueExporterScopeFailing may be resolved while the exporter is down, because it then has no series.
    wait_for_alert("GlueExporterScopeFailing", "resolved", rehearsed)
    for alert in ("GlueIntegrationMissing", "GlueExporterDown"):
        wait_for_alert(alert, "resolved", repaired)

    def all_resolved():
        last = {tuple(sorted(alert["labels"].items())): alert["status"] for alert in pager.receiver.arrived}
        return not query(pager.prometheus.url, "ALERTS") and set(last.values()) == {"resolved"}

    # After the restart of the exporter, GlueExporterScopeFailing may fire again, because its average still contains failed polls.
    wait_for("all alerts are resolved", all_resolved, 2 * 60)

    # End the drill: remove the job from Prometheus first, then stop the exporter.
    before = len(pager.receiver.arrived)
    pager.write_config([OWN])
    terminal.run("curl -fsS -X POST localhost:9090/-/reload")
    wait_for("Prometheus no longer scrapes the drill", lambda: not query(pager.prometheus.url, 'up{job!="glue-integration-exporter"}'))
    for name in ("exporter", "simulator"):
        terminal.ctrl_c(name)
    quiet = time.time() + max(pager.rules.wait(alert, "for") for alert in ("GlueExporterDown", "GlueExporterShardMissing")) + 5
    wait_for("the alerts for missing exporters would have fired", lambda: time.time() > quiet)
    check("ending the drill sends no notification", len(pager.receiver.arrived) == before, pager.receiver.arrived[before:])
    still = query(pager.prometheus.url, 'ALERTS{alertstate="firing"}')
    check("nothing fires after the drill", not still, still)
    return which, scrapes[0][0]["job_name"]


def rehearse(text, terminal, start):
    """Runs the table of other drills. Its columns are the action, the alert and the time until it fires."""
    rows = re.findall(r"^ *\| (.+?) \| `(\w+)` \| (.+?) \|$", text, re.MULTILINE)
    check("the table has four drills", len(rows) == 4, rows)
    with open(RULES, encoding="utf-8") as file:
        shipped = {rule["alert"]: rule for group in yaml.safe_load(file)["groups"] for rule in group["rules"] if "alert" in rule}
    for what, alert, after in rows:
        waits = seconds(shipped[alert].get("for", "0s"))
        # Polls must fail for half of the 20 minutes first.
        waits += 10 * 60 * (alert == "GlueExporterScopeFailing")
        check(f"{alert} fires after the time in the page", waits == (0 if after == "at once" else seconds(after)), after)
        at = time.time()
        command = re.fullmatch(r"`(.+)`", what)
        if command:
            terminal.run(command.group(1))
        else:
            check("the action stops the exporter", "Ctrl-C" in what, what)
            terminal.ctrl_c("exporter")
        wait_for_alert(alert, after=at)
    terminal.start_server("exporter", start)


def main():
    with open(PAGE, encoding="utf-8") as file:
        which, job = drill(file.read())
    foreign = [
        alert["labels"] for alert in pager.receiver.arrived
        if alert["labels"].get("integration_arn", which) != which or alert["labels"].get("job", job) != job
    ]
    check("all notifications are about the drill", not foreign, foreign)
    finish()


if __name__ == "__main__":
    loopback_up()
    os.environ["PATH"] = os.path.dirname(BINARY) + os.pathsep + os.environ["PATH"]
    # The existing setup: an exporter on its default port, and an ACTIVE integration.
    aws = Server("own-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    checks.SIMULATOR = aws.url
    replace_integrations([integration(1, "ACTIVE")])
    with open(f"{WORK}/own.yaml", "w", encoding="utf-8") as file:
        json.dump({"polling": {"interval": f"{INTERVAL}s"}, "scopes": [{"name": "own", "regions": ["eu-west-1"]}]}, file)
    own = Server("own-exporter", WORK, [BINARY, f"--config.file={WORK}/own.yaml"], "--web.listen-address", AWS_ENDPOINT_URL_GLUE=aws.url)
    own.address = "127.0.0.1:10058"
    own.start()
    OWN = {"job_name": "glue-integration-exporter", "static_configs": [{"targets": ["localhost:10058"]}]}
    pager = Pager(WORK, PROGRAMS, Rules(RULES, FRESHNESS), [OWN], ports=(9090, 9093))
    main()
