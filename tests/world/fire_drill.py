"""Goes through the README's fire drill as it is written: its commands, its files, its ports, and the pager of somebody who watches an
integration of their own meanwhile.

Usage: fire_drill.py BINARY PROGRAMS RULES README WORK    (as end_to_end.py; as root, in a network namespace of its own)
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

import world
from kinds import integration
from pager import EVALUATION, GROUP_INTERVAL, GROUP_WAIT, SCRAPE, Pager, Rules, seconds
from processes import Server, die_with_parent
from world import check, finish, query, replace_world, value, wait_for

BINARY, PROGRAMS, RULES, README, WORK = sys.argv[1:6]
INTERVAL = 10
# An evaluation more for what one rule takes from another, and a busy machine.
LATE = INTERVAL + SCRAPE + EVALUATION + GROUP_WAIT + 10
ATTENTION = "GlueIntegrationNeedsAttention"


def loopback_up():
    """A network namespace begins with everything down."""
    up, running, set_flags = 0x1, 0x40, 0x8914
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", up | running))


def section():
    with open(README, encoding="utf-8") as file:
        return re.search(r"^## Fire drill\n(.*?)^## ", file.read(), re.DOTALL | re.MULTILINE).group(1)


def fenced(text, language):
    """The blocks of a language, without the indentation of the list that they are in."""
    for indent, block in re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE):
        yield "".join(line.removeprefix(indent) for line in block.splitlines(keepends=True))


def commands(text):
    for block in fenced(text, "console"):
        yield from (command.strip() for command in re.split(r"^\$ ", block, flags=re.MULTILINE) if command.strip())


def answers(where):
    try:
        with urllib.request.urlopen("http://localhost:" + where, timeout=5):
            return True
    except OSError:
        return False


class Terminal:
    """Runs what a user types; assignments hold for what is typed later."""

    def __init__(self):
        self.assigned, self.servers = [], {}

    def type(self, command):
        if re.fullmatch(r"[A-Z]+=\S+", command):
            self.assigned.append(command)
            return ""
        done = subprocess.run(
            ["bash", "-euc", "\n".join([*self.assigned, command])], cwd=WORK, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        )
        check(f"{command} works", done.returncode == 0, done.stderr[-500:])
        return done.stdout

    def leave_running(self, name, command):
        with open(f"{WORK}/drill-{name}.log", "ab") as log:
            self.servers[name] = subprocess.Popen(
                ["bash", "-euc", "exec env " + command], cwd=WORK, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,
            )

    def ctrl_c(self, name):
        self.servers[name].send_signal(2)
        status = self.servers[name].wait(30)
        check(f"{name} stops on Ctrl-C", status == 0, status)


def arrives(alert, status="firing", after=0.0, **labels):
    """Waits for a notification that came after a moment."""
    key = "for" if status == "firing" else "keep_firing_for"
    patience = LATE + pager.rules.wait(alert, key) + GROUP_INTERVAL
    found = wait_for(f"{alert} arrives: {status}", lambda: [one for one in pager.receiver.of(alert, status, **labels) if one["at"] >= after], patience)
    check(f"{alert} arrives: {status}", True)
    print(f"  {alert} {status} after {found[0]['at'] - after:.0f} s" if after else f"  {alert} {status}")
    return found[0]


def drill(text):
    terminal = Terminal()
    typed = list(commands(text))
    yamls = [yaml.safe_load(block) for block in fenced(text, "yaml")]
    exporters = [content for content in yamls if "scopes" in content]
    scrapes = [content["scrape_configs"] for content in yamls if "scrape_configs" in content]
    check("the drill has one configuration of the exporter and one of Prometheus", len(exporters) == len(scrapes) == 1, yamls)
    with open(f"{WORK}/drill.yaml", "w", encoding="utf-8") as file:
        file.write(next(block for block in fenced(text, "yaml") if "scopes:" in block))
    [which] = exporters[0]["scopes"][0]["integration_arns"]
    region, account = which.split(":")[3:5]

    def took(start):
        """The next command; each is known by how it begins, and none is left out."""
        command = typed.pop(0)
        check(f"the next step is {start}", command.startswith(start), command)
        return command

    terminal.leave_running("simulator", took("glue-integration-exporter simulate"))
    terminal.type(took("DRILL="))
    create = took("curl -fsS -X PUT $DRILL")
    wait_for("the simulator listens", lambda: answers("10059/simulator/requests"))
    terminal.type(create)
    start = took("AWS_ENDPOINT_URL_GLUE=http://localhost:10059 ")
    terminal.leave_running("exporter", start)
    wait_for("the exporter is ready", lambda: answers("10068/-/ready"))
    shown = terminal.type(took("curl -fsS localhost:10068/metrics"))
    check("the metrics say that the drill's integration is ACTIVE", f'integration_arn="{which}",status="ACTIVE"}} 1' in shown, shown)

    pager.scrape([OWN, *scrapes[0]])
    terminal.type(took("curl -fsS -X POST localhost:9090/-/reload"))
    wait_for("it is scraped", lambda: value(pager.prometheus.url, f'count(aws_glue_integration_status{{aws_region="{region}"}} == 1)') == 1)
    check("nobody is paged yet", not pager.receiver.arrived, pager.receiver.arrived)

    flipped = time.time()
    terminal.type(took("curl -fsS -X PATCH $DRILL -d '{\"Status\": \"NEEDS_ATTENTION\"}'"))
    page = arrives(ATTENTION, after=flipped)
    labels, summary = page["labels"], page["annotations"]["summary"]
    want = {"alertname": ATTENTION, "severity": "critical", "aws_account_id": account, "aws_region": region, "integration_arn": which}
    check("the page is about the drill", labels == want, labels)
    check("the page says what the README says", summary in " ".join(text.split()), summary)
    for where in ("localhost:9090/api/v1/alerts", "localhost:9093/api/v2/alerts"):
        check(f"{where} has it", which in terminal.type(took("curl -fsS " + where)))

    flipped = time.time()
    terminal.type(took("curl -fsS -X PATCH $DRILL -d '{\"Status\": \"ACTIVE\"}'"))
    arrives(ATTENTION, "resolved", flipped)
    rehearsed = time.time()
    rehearse(text, terminal, start)
    early = pager.receiver.of("GlueIntegrationMissing", "resolved")
    check("what is missing is not resolved because the exporter is gone", not early, early)
    well = time.time()
    for command in (took("curl -fsS -X DELETE localhost:10059/simulator/faults"), create):
        terminal.type(command)
    check("each command of the drill was tried", not typed, typed)
    # A scope of an exporter that is gone fails no more: GlueExporterGone says it then.
    arrives("GlueExporterScopeFailing", "resolved", rehearsed)
    for alert in ("GlueIntegrationMissing", "GlueExporterGone"):
        arrives(alert, "resolved", well)

    # The end of the drill: first out of Prometheus, then stopped.
    before = len(pager.receiver.arrived)
    pager.scrape([OWN])
    terminal.type("curl -fsS -X POST localhost:9090/-/reload")
    wait_for("it is not scraped any more", lambda: not query(pager.prometheus.url, 'up{job!="glue-integration-exporter"}'))
    for name in ("exporter", "simulator"):
        terminal.ctrl_c(name)
    quiet = time.time() + max(pager.rules.wait(alert, "for") for alert in ("GlueExporterGone", "GlueExporterShardMissing")) + 5
    wait_for("time passes", lambda: time.time() > quiet)
    check("the end of the drill pages nobody", len(pager.receiver.arrived) == before, pager.receiver.arrived[before:])
    still = query(pager.prometheus.url, 'ALERTS{alertstate="firing"}')
    check("nothing fires after the drill", not still, still)
    return which, scrapes[0][0]["job_name"]


def rehearse(text, terminal, start):
    """The table of other drills: what is done, the alert, and after how long it fires."""
    rows = re.findall(r"^ *\| (.+?) \| `(\w+)` \| (.+?) \|$", text, re.MULTILINE)
    check("the other drills", len(rows) == 4, rows)
    with open(RULES, encoding="utf-8") as file:
        shipped = {rule["alert"]: rule for group in yaml.safe_load(file)["groups"] for rule in group["rules"] if "alert" in rule}
    for what, alert, after in rows:
        waits = seconds(shipped[alert].get("for", "0s"))
        check(f"{alert} fires after as long as the README says", waits == (0 if after == "at once" else seconds(after)), after)
        at = time.time()
        command = re.fullmatch(r"`(.+)`", what)
        if command:
            terminal.type(command.group(1))
        else:
            check("the exporter is stopped", "Ctrl-C" in what, what)
            terminal.ctrl_c("exporter")
        arrives(alert, after=at)
    terminal.leave_running("exporter", start)


def main():
    which, job = drill(section())
    strangers = [
        alert["labels"] for alert in pager.receiver.arrived
        if alert["labels"].get("integration_arn", which) != which or alert["labels"].get("job", job) != job
    ]
    check("nobody was paged for anything but the drill", not strangers, strangers)
    finish()


if __name__ == "__main__":
    loopback_up()
    os.environ["PATH"] = os.path.dirname(BINARY) + os.pathsep + os.environ["PATH"]
    # What is watched anyway: an exporter on its usual port, and an integration that is well.
    aws = Server("own-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    world.SIMULATOR = aws.url
    replace_world([integration(1, "ACTIVE")])
    with open(f"{WORK}/own.yaml", "w", encoding="utf-8") as file:
        json.dump({"polling": {"interval": f"{INTERVAL}s"}, "scopes": [{"name": "own", "regions": ["eu-west-1"]}]}, file)
    own = Server("own-exporter", WORK, [BINARY, f"--config.file={WORK}/own.yaml"], "--web.listen-address", AWS_ENDPOINT_URL_GLUE=aws.url)
    own.address = "127.0.0.1:10058"
    own.start()
    OWN = {"job_name": "glue-integration-exporter", "static_configs": [{"targets": ["localhost:10058"]}]}
    pager = Pager(WORK, PROGRAMS, Rules(RULES), [OWN], ports=(9090, 9093))
    main()
