"""Prometheus with the rules of deploy/, Alertmanager, and a webhook that records the notifications.

Time runs 60 times faster: each `for`, `keep_firing_for` and range such as [20m] is divided by 60, intervals of a minute are one second, and
the lookback is shorter. The expressions and texts of the rules are otherwise unchanged. So alerts that compare with seconds are not scaled.
"""

import json
import re
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

from processes import Server
from checks import value, wait_for

TIME_FACTOR = 60
# Intervals of Prometheus and Alertmanager, in seconds.
SCRAPE = EVALUATION = GROUP_WAIT = GROUP_INTERVAL = 1
LOOKBACK = 15
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(duration):
    """Returns the seconds of a Prometheus duration such as 1h30m."""
    parts = re.findall(r"(\d+)(ms|[smhd])", str(duration))
    if "".join(number + unit for number, unit in parts) != str(duration):
        raise SystemExit(f"FAILED {duration!r} is not a duration")
    return sum(int(number) * UNITS[unit] for number, unit in parts)


def scaled(duration):
    return f"{round(seconds(duration) * 1000 / TIME_FACTOR)}ms"


class Rules:
    """The alert rules of files, with shortened durations."""

    def __init__(self, *files):
        self.content, self.alerts = {"groups": []}, {}
        for file in files:
            with open(file, encoding="utf-8") as text:
                self.content["groups"] += yaml.safe_load(text)["groups"]
        for group in self.content["groups"]:
            for rule in group["rules"]:
                for key in ("for", "keep_firing_for"):
                    if key in rule:
                        rule[key] = scaled(rule[key])
                rule["expr"] = re.sub(r"(?<=\[)\w+(?=\])", lambda found: scaled(found.group()), rule["expr"])
                if "alert" in rule:
                    self.alerts[rule["alert"]] = rule

    def wait(self, alert, key):
        """Returns the seconds of `for` or `keep_firing_for` of an alert, plus one evaluation because they start at an evaluation."""
        waits = seconds(self.alerts[alert].get(key, "0s"))
        return waits + EVALUATION if waits else 0

    def write(self, file):
        with open(file, "w", encoding="utf-8") as text:
            yaml.safe_dump(self.content, text, sort_keys=False)


class Receiver:
    """A webhook for Alertmanager. `arrived` has every alert of every notification, with its time of arrival `at`."""

    def __init__(self):
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.arrived += [{**alert, "at": time.time()} for alert in body["alerts"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.arrived = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def alerts(self, name, status=None, **labels):
        """Returns the notifications of an alert. `status` is `firing`, `resolved` or None for both."""
        return [
            alert for alert in self.arrived
            if alert["labels"]["alertname"] == name and status in (None, alert["status"]) and labels.items() <= alert["labels"].items()
        ]


class Pager:
    """Starts Prometheus, Alertmanager and the webhook. Port 0 selects a free port."""

    def __init__(self, work, programs, rules, jobs, ports=(0, 0)):
        self.work, self.rules, self.receiver = work, rules, Receiver()
        rules.write(f"{work}/rules.yaml")
        route = {
            "receiver": "webhook", "group_by": ["..."], "repeat_interval": "1h",
            "group_wait": f"{GROUP_WAIT}s", "group_interval": f"{GROUP_INTERVAL}s",
        }
        webhook = {"name": "webhook", "webhook_configs": [{"url": self.receiver.url, "send_resolved": True}]}
        self._write("alertmanager.yml", {"route": route, "receivers": [webhook]})
        command = [f"{programs}/alertmanager", f"--config.file={work}/alertmanager.yml", f"--storage.path={work}/alertmanager-data", "--cluster.listen-address="]
        self.alertmanager = Server("alertmanager", work, command, "--web.listen-address")
        self.alertmanager.address = f"127.0.0.1:{ports[1]}"
        self.alertmanager.start()
        command = [
            f"{programs}/prometheus", f"--config.file={work}/pager.yml", f"--storage.tsdb.path={work}/pager-tsdb",
            "--web.enable-lifecycle", f"--query.lookback-delta={LOOKBACK}s",
        ]
        self.prometheus = Server("pager-prometheus", work, command, "--web.listen-address")
        self.prometheus.address = f"127.0.0.1:{ports[0]}"
        # The first scrapes can be 5 seconds late, which is 5 minutes for these rules. So load the rules after them.
        self.write_config(jobs, rules=[])
        self.prometheus.start()
        wait_for("Prometheus is ready", lambda: "Server is ready" in self.prometheus.log_text())
        wait_for("all jobs are scraped", lambda: value(self.prometheus.url, "count(up == 1)") == len(jobs))
        self.write_config(jobs)
        urllib.request.urlopen(urllib.request.Request(self.prometheus.url + "/-/reload", method="POST"), timeout=10).close()

    def write_config(self, jobs, rules=("rules.yaml",)):
        """Writes the configuration of Prometheus, which applies after its next start or reload."""
        self._write("pager.yml", {
            "global": {"scrape_interval": f"{SCRAPE}s", "scrape_timeout": f"{SCRAPE}s", "evaluation_interval": f"{EVALUATION}s"},
            "rule_files": list(rules),
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [self.alertmanager.address]}]}]},
            "scrape_configs": jobs,
        })

    def stop(self):
        self.prometheus.stop()
        self.alertmanager.stop()

    def _write(self, name, content):
        with open(f"{self.work}/{name}", "w", encoding="utf-8") as file:
            json.dump(content, file)  # JSON is valid YAML
