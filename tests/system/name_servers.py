"""Checks the exporter with name servers that do not answer, as in most network outages: it serves /metrics with scope_up 0.

Usage: name_servers.py BINARY WORK    (as root in its own mount namespace, because it mounts its own resolv.conf)
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request

from processes import Server
from checks import check, finish, wait_for

BINARY, WORK = sys.argv[1:3]
SERVER = "127.86.53.1"
REGIONS = ["eu-west-1", "eu-central-1", "eu-north-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2", "ap-south-1", "sa-east-1", "ca-central-1"]
SCOPES = 40


def configuration():
    lines = ["polling: {interval: 10s, requests_per_second: 100}", "scopes:"]
    for scope in range(SCOPES):
        arns = [f"arn:aws:glue:{region}:{111122223000 + scope}:integration:i{n}" for region in REGIONS for n in range(4)]
        lines.append(f"  - {{name: s{scope}, integration_arns: {arns}}}")
    return "\n".join(lines) + "\n"


def scrape():
    """Scrapes with a scrape timeout of one second. Returns the exposition and the duration in seconds."""
    start = time.monotonic()
    request = urllib.request.Request(f"{exporter.url}/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": "1"})
    with urllib.request.urlopen(request, timeout=10) as response:
        page = response.read().decode()
    return page, time.monotonic() - start


def values(page, name):
    return [float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name + "{")]


silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind((SERVER, 53))
with open(f"{WORK}/resolv.conf", "w", encoding="ascii") as file:
    file.write(f"nameserver {SERVER}\noptions timeout:5 attempts:2\n")
subprocess.run(["mount", "--bind", f"{WORK}/resolv.conf", "/etc/resolv.conf"], check=True)
with open(f"{WORK}/silent.yaml", "w", encoding="ascii") as file:
    file.write(configuration())

exporter = Server("silent", WORK, [BINARY, f"--config.file={WORK}/silent.yaml"], "--web.listen-address").start()
slowest = most_threads = 0


def all_scopes_exported():
    global slowest, most_threads
    page, took = scrape()
    slowest = max(slowest, took)
    most_threads = max(most_threads, len(os.listdir(f"/proc/{exporter.process.pid}/task")))
    return len(values(page, "glue_integration_exporter_scope_up")) == SCOPES * len(REGIONS) and page


page = wait_for("every scope has scope_up", all_scopes_exported)
check("no scope is up", not any(values(page, "glue_integration_exporter_scope_up")))
# A scrape that waits for a lookup takes longer than this; the limit allows for a busy machine.
check("a scrape does not wait for lookups", slowest < 8, slowest)
check("few threads wait for lookups", most_threads < 60, most_threads)
exporter.stop()
finish()
