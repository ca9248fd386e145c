"""Runs two exporters through status changes, throttling, an outage, restarts and reloads, with a Prometheus that alerts on NEEDS_ATTENTION and
FAILED.

Usage: day_in_production.py BINARY PROMETHEUS WORK    (two programs, and a directory for files)

The exporter `stored` has `storage.path`, the exporter `plain` has not. Both are killed during the outage. Afterwards, the script checks all
evaluations of the alert: every change was detected, there was no false alert, and with `stored` no restart interrupted an alert. It prints
the differences of `plain`.
"""

import json
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import checks
from kinds import arn, integration
from processes import Server
from checks import check, control, control_path, finish, query, replace_integrations, value, wait_for

BINARY, PROMETHEUS, WORK = sys.argv[1:4]
INTERVAL, TIMEOUT = 10, 1  # poll interval (the minimum) and scrape timeout, in seconds
# If a poll starts just before a change, only the next poll sees it. The rest is for scrape and evaluation.
DETECTION_TIMEOUT = 2 * INTERVAL + 10
EXPORTERS = ["stored", "plain"]
CHANGING, BROKEN, HEALTHY, OTHER_REGION = arn(1), arn(2), arn(3), arn(4, "us-east-1")
NAMES = {CHANGING: "changing", BROKEN: "broken", HEALTHY: "healthy", OTHER_REGION: "other region"}

RULES = """
groups:
  - name: glue
    interval: 1s
    rules:
      - alert: GlueIntegrationBroken
        # This alert has no `for` and no `keep_firing_for`, so it shows exactly the exported statuses of each exporter.
        expr: max by (job, aws_account_id, aws_region, integration_arn, status) (aws_glue_integration_status{status=~"NEEDS_ATTENTION|FAILED"}) == 1
"""
FIRING = 'ALERTS{alertstate="firing"}'

began = time.monotonic()
episodes = []


class Episode:
    """A period in which an integration has a status that alerts: its times in AWS and in Prometheus."""

    def __init__(self, which, status):
        self.which, self.status, self.started = which, status, time.time()
        self.confirmed = self.ending = self.ended = None
        episodes.append(self)

    def wait_until_firing(self):
        wait_for(f"{self} fires", lambda: all((job, self.which, self.status) in firing() for job in EXPORTERS), DETECTION_TIMEOUT)
        self.confirmed = time.time()
        report(f"{self} fires after {self.confirmed - self.started:.0f} s")

    def end(self):
        self.ending = time.time()

    def wait_until_resolved(self):
        wait_for(f"{self} ends", lambda: all((job, self.which, self.status) not in firing() for job in EXPORTERS), DETECTION_TIMEOUT)
        self.ended = time.time()

    def __str__(self):
        return f"{NAMES[self.which]}: {self.status}"


def report(what):
    print(f"  {time.monotonic() - began:5.0f} s: {what}")


def firing():
    return {(labels["job"], labels["integration_arn"], labels["status"]) for labels, _ in query(prometheus.url, FIRING)}


def patch(which, status):
    answer = control("PATCH", control_path(which), {"Status": status})
    check(f"{which} becomes {status}", answer[0] == 204, answer)


def change_status(which, status):
    """Changes a status in AWS. Ends the present episode, and starts a new one if the new status alerts."""
    before = next((episode for episode in episodes if episode.which == which and episode.ending is None), None)
    now = Episode(which, status) if status in ("NEEDS_ATTENTION", "FAILED") else None
    if before:
        before.end()
    patch(which, status)
    if now:
        now.wait_until_firing()
    if before:
        before.wait_until_resolved()


def everywhere(expression):
    """Returns True if an expression has a sample for both exporters. `JOB` stands for the label matcher of the exporter."""
    return all(query(prometheus.url, expression.replace("JOB", f'job="{job}"')) for job in EXPORTERS)


def failures(reason):
    return f'glue_integration_exporter_poll_failures_total{{JOB,scope="lake",reason="{reason}"}}'


def wait_for_failures(reason):
    before = {labels["job"]: count for labels, count in query(prometheus.url, failures(reason).replace("JOB,", ""))}
    wait_for(f"polls fail: {reason}", lambda: all(
        value(prometheus.url, failures(reason).replace("JOB", f'job="{job}"')) > before.get(job, 0) for job in EXPORTERS
    ), DETECTION_TIMEOUT)
    report(f"polls fail: {reason}")


def up():
    wait_for("every scope is up", lambda: everywhere('min(glue_integration_exporter_scope_up{JOB}) == 1'), DETECTION_TIMEOUT)


def fault(**members):
    control("DELETE", "faults")
    if members:
        check("add a fault", control("POST", "faults", members)[0] == 204)


def configure(*regions):
    for name in EXPORTERS:
        scopes = [{"name": f"lake{region}", "regions": [region or "eu-west-1"]} for region in ["", *regions]]
        config = {"polling": {"interval": f"{INTERVAL}s"}, "scopes": scopes}
        if name == "stored":
            config["storage"] = {"path": f"{WORK}/state"}
        with open(f"{WORK}/{name}.yaml", "w", encoding="utf-8") as file:
            json.dump(config, file)  # JSON is valid YAML


def reload():
    exporters["stored"].signal(signal.SIGHUP)
    request = urllib.request.Request(exporters["plain"].url + "/-/reload", method="POST")
    with urllib.request.urlopen(request, timeout=10) as response:
        check("reload", response.status == 200, response.status)


def wait_for_scrape(job):
    """Returns just after a scrape, so that every restart has the same time until the next scrape."""
    def last():
        with urllib.request.urlopen(prometheus.url + "/api/v1/targets?state=active", timeout=10) as response:
            targets = json.load(response)["data"]["activeTargets"]
        return next(target["lastScrape"] for target in targets if target["labels"]["job"] == job)

    before = last()
    wait_for(f"{job} is scraped", lambda: last() != before)


def restart(end):
    for name, exporter in exporters.items():
        wait_for_scrape(name)
        start = time.monotonic()
        end(exporter)
        exporter.start()
        report(f"{name} was restarted within {time.monotonic() - start:.2f} s")


def since(job):
    return value(prometheus.url, f'aws_glue_integration_status_since_timestamp_seconds{{job="{job}",integration_arn="{BROKEN}"}}')


def fill(**statuses):
    names = {"changing": CHANGING, "broken": BROKEN, "healthy": HEALTHY}
    replace_integrations([
        *({**integration(number, statuses[name]), "IntegrationArn": names[name]} for number, name in enumerate(names, 1)),
        {**integration(4, "NEEDS_ATTENTION", region="us-east-1"), "IntegrationArn": OTHER_REGION},
    ])


def ready():
    try:
        with urllib.request.urlopen(prometheus.url + "/-/ready", timeout=10):
            return True
    except urllib.error.HTTPError:
        return False


def run_scenario():
    # Prometheus listens before it is ready.
    wait_for("Prometheus is ready", ready)
    wait_for("up is 1", lambda: everywhere("up{JOB} == 1"))
    up()
    check("no alert", not firing(), firing())
    report("no alert fires")

    change_status(BROKEN, "NEEDS_ATTENTION")
    change_status(CHANGING, "FAILED")
    change_status(CHANGING, "NEEDS_ATTENTION")
    change_status(CHANGING, "SYNCING")
    first_seen = {job: since(job) for job in EXPORTERS}

    fault(Kind="Error", Code="ThrottlingException")
    wait_for_failures("throttled")
    while_throttled = Episode(CHANGING, "FAILED")
    patch(CHANGING, "FAILED")
    fault()
    while_throttled.wait_until_firing()
    change_status(CHANGING, "ACTIVE")

    report("an outage begins")
    fault(Kind="Hang")
    wait_for_failures("timeout")
    fault(Kind="Error", Code="InternalServiceException")
    wait_for_failures("server_error")
    simulator.kill()
    wait_for_failures("network")
    restart(Server.kill)
    # The counters were reset by the restart.
    wait_for("polls fail again", lambda: everywhere(f"{failures('network')} > 0"), DETECTION_TIMEOUT)
    in_outage = firing()
    check("stored still alerts on the broken integration", ("stored", BROKEN, "NEEDS_ATTENTION") in in_outage, in_outage)
    check("stored keeps status_since during the outage", since("stored") == first_seen["stored"], since("stored"))
    stale = query(prometheus.url, 'glue_integration_exporter_scope_stale{job="stored"} == 1')
    check("stored reports stale data", len(stale) == 1, stale)
    # A restarted simulator has the demo account until it is filled. So start it just after a poll.
    wait_for_failures("network")
    simulator.start()
    # The status changed while no exporter could poll.
    unobserved = Episode(CHANGING, "NEEDS_ATTENTION")
    fill(changing="NEEDS_ATTENTION", broken="NEEDS_ATTENTION", healthy="ACTIVE")
    unobserved.wait_until_firing()
    up()
    report("the outage is over")
    check("stored kept status_since over the outage", since("stored") == first_seen["stored"], since("stored"))

    before = {job: since(job) for job in EXPORTERS}
    restart(Server.stop)
    up()
    wait_for("both exporters were scraped", lambda: all(since(job) for job in EXPORTERS))
    check("stored kept status_since over a restart", since("stored") == before["stored"], since("stored"))
    since_delta = {job: since(job) - first_seen[job] for job in EXPORTERS}

    configure("us-east-1")
    other_region = Episode(OTHER_REGION, "NEEDS_ATTENTION")
    reload()
    other_region.wait_until_firing()
    configure()
    other_region.end()
    reload()
    other_region.wait_until_resolved()
    report("a scope was added and removed by reloads")
    check("stored kept status_since over reloads", since("stored") == first_seen["stored"], since("stored"))

    change_status(CHANGING, "ACTIVE")
    change_status(BROKEN, "ACTIVE")
    return since_delta


def check_evaluations(since_delta):
    """Compares all evaluations of the alert with the episodes."""
    span = int(time.monotonic() - began) + 5
    url = f"{prometheus.url}/api/v1/query?" + urllib.parse.urlencode({"query": f"{FIRING}[{span}s]"})
    with urllib.request.urlopen(url, timeout=30) as response:
        series = json.load(response)["data"]["result"]
    evaluated = {}
    for one in series:
        key = one["metric"]["job"], one["metric"]["integration_arn"], one["metric"]["status"]
        evaluated[key] = sorted(float(at) for at, _ in one["values"])

    happened = {(episode.which, episode.status) for episode in episodes}
    for job in EXPORTERS:
        seen = {(which, status) for at, which, status in evaluated if at == job}
        check(f"{job}: the alerts match the episodes", seen == happened, seen ^ happened)
    for (job, which, status), moments in evaluated.items():
        spans = [(one.started, one.ended) for one in episodes if (one.which, one.status) == (which, status)]
        unexpected = [at for at in moments if not any(start <= at <= end + 2 for start, end in spans)]
        check(f"{job}: {NAMES[which]}: {status}: fires only during its episodes", not unexpected, unexpected)

    longest = {}
    for episode in episodes:
        for job in EXPORTERS:
            moments = [at for at in evaluated[job, episode.which, episode.status] if episode.confirmed <= at <= episode.ending]
            check(f"{job}: {episode} was evaluated", moments or episode.ending - episode.confirmed < 2)
            gap = max((after - before for before, after in zip(moments, moments[1:])), default=1) - 1
            longest[job] = max(longest.get(job, 0), gap)
    # The alert is evaluated every second. A scrape during a restart may cost one evaluation.
    check("stored: the alert has no gap", longest["stored"] <= TIMEOUT + 0.5, longest)
    check("plain: the restart during the outage interrupted the alert", longest["plain"] > 2 * TIMEOUT, longest)
    print(f"  the longest gap in a firing alert: {longest['stored']:.1f} s with storage.path, {longest['plain']:.1f} s without")
    print(f"  both restarts moved status_since by {since_delta['stored']:.0f} s with storage.path, by {since_delta['plain']:.0f} s without")
    print(f"  {len(episodes)} episodes, {sum(map(len, evaluated.values()))} firing evaluations, no false alert")


if __name__ == "__main__":
    simulator = Server("day-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    checks.SIMULATOR = simulator.url
    fill(changing="ACTIVE", broken="ACTIVE", healthy="ACTIVE")
    configure()
    exporters = {
        name: Server(
            f"day-{name}", WORK, [BINARY, f"--config.file={WORK}/{name}.yaml", "--web.enable-lifecycle"], "--web.listen-address",
            AWS_ENDPOINT_URL_GLUE=simulator.url,
        ).start()
        for name in EXPORTERS
    }
    with open(f"{WORK}/rules.yml", "w", encoding="utf-8") as file:
        file.write(RULES)
    with open(f"{WORK}/day.yml", "w", encoding="utf-8") as file:
        jobs = [{"job_name": name, "static_configs": [{"targets": [exporters[name].address]}]} for name in EXPORTERS]
        scraping = {"scrape_interval": "1s", "scrape_timeout": f"{TIMEOUT}s", "evaluation_interval": "1s"}
        json.dump({"global": scraping, "rule_files": [f"{WORK}/rules.yml"], "scrape_configs": jobs}, file)
    command = [PROMETHEUS, f"--config.file={WORK}/day.yml", f"--storage.tsdb.path={WORK}/day-tsdb"]
    prometheus = Server("day-prometheus", WORK, command, "--web.listen-address").start()

    check_evaluations(run_scenario())
    for server in [*exporters.values(), prometheus, simulator]:
        server.stop()
        check(f"{server.name} stops", True)
    finish()
