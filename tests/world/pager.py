"""A pager: a real Prometheus with the rules of deploy/, a real Alertmanager, and a webhook that writes down what arrives.

The rules are those that users load, but sooner: each `for` and `keep_firing_for` is a sixtieth, minutes become seconds. Nothing else of
them is changed, neither an expression nor a text. Intervals of a minute are a second, and the series of a job that was taken out end
sooner, too.
"""

import json
import re
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

from processes import Server
from world import value, wait_for

SOONER = 60
# Of Prometheus (seconds between two scrapes, and between two evaluations) and of Alertmanager.
SCRAPE = EVALUATION = GROUP_WAIT = GROUP_INTERVAL = 1
LOOKBACK = 15
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(duration):
    """A duration of Prometheus, as in 1h30m."""
    parts = re.findall(r"(\d+)(ms|[smhd])", str(duration))
    if "".join(number + unit for number, unit in parts) != str(duration):
        raise SystemExit(f"FAILED {duration!r} is no duration")
    return sum(int(number) * UNITS[unit] for number, unit in parts)


class Rules:
    """The alert rules of a file, sooner."""

    def __init__(self, file):
        with open(file, encoding="utf-8") as text:
            self.content = yaml.safe_load(text)
        self.alerts = {}
        for group in self.content["groups"]:
            for rule in group["rules"]:
                for key in ("for", "keep_firing_for"):
                    if key in rule:
                        rule[key] = f"{round(seconds(rule[key]) * 1000 / SOONER)}ms"
                if "alert" in rule:
                    self.alerts[rule["alert"]] = rule

    def wait(self, alert, key):
        """Seconds of an alert's `for` or `keep_firing_for`; an evaluation more, since they are counted from one evaluation to another."""
        waits = seconds(self.alerts[alert].get(key, "0s"))
        return waits + EVALUATION if waits else 0

    def write(self, file):
        with open(file, "w", encoding="utf-8") as text:
            yaml.safe_dump(self.content, text, sort_keys=False)


class Receiver:
    """A webhook of Alertmanager's. `arrived` has each alert of each notification, with `at`, the moment of its arrival."""

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

    def of(self, name, status=None, **labels):
        """What arrived of one alert: `status` is `firing` or `resolved`, or either."""
        return [
            alert for alert in self.arrived
            if alert["labels"]["alertname"] == name and status in (None, alert["status"]) and labels.items() <= alert["labels"].items()
        ]


class Pager:
    """Prometheus and Alertmanager, whose programs are in a directory, and the webhook; on free ports or on those that are given."""

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
        # Its first scrapes are up to 5 seconds late, five minutes of these rules: without any until then.
        self.scrape(jobs, rules=[])
        self.prometheus.start()
        wait_for("Prometheus is ready", lambda: "Server is ready" in self.prometheus.said())
        wait_for("all jobs are scraped", lambda: value(self.prometheus.url, "count(up == 1)") == len(jobs))
        self.scrape(jobs)
        urllib.request.urlopen(urllib.request.Request(self.prometheus.url + "/-/reload", method="POST"), timeout=10).close()

    def scrape(self, jobs, rules=("rules.yaml",)):
        """Writes what Prometheus scrapes, from its next start or reload on."""
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
            json.dump(content, file)  # JSON is YAML, too
