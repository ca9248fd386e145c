"""An hour of an exporter's life in three minutes, watched by a real Prometheus that alerts on NEEDS_ATTENTION and FAILED.

Usage: life.py BINARY PROMETHEUS WORK    (two programs, and a directory for files)

Two exporters live through it side by side: `stored` has `storage.path`, `plain` has not. Both are killed in the middle of an outage.
Afterwards Prometheus is asked for each evaluation of the alert: each flip was seen, nothing was seen that had not happened, and with
`stored` no alert ended because of a restart. What is another with `plain` is printed.
"""

import json
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import world
from kinds import arn, integration
from processes import Server
from world import check, control, control_path, finish, query, replace_integrations, value, wait_for

BINARY, PROMETHEUS, WORK = sys.argv[1:4]
INTERVAL, TIMEOUT = 10, 1  # of polls (the least that is allowed), and of scrapes
# A poll may have begun just before a change; then it is scraped and evaluated.
SEEN_WITHIN = 2 * INTERVAL + 10
EXPORTERS = ["stored", "plain"]
FLIPS, BROKEN, QUIET, ABROAD = arn(1), arn(2), arn(3), arn(4, "us-east-1")
NAMES = {FLIPS: "one that flips", BROKEN: "one that stays broken", QUIET: "a healthy one", ABROAD: "one of another region"}

RULES = """
groups:
  - name: glue
    interval: 1s
    rules:
      - alert: GlueIntegrationBroken
        # The simplest one, for each of the two exporters: it shows what they show, and holds nothing.
        expr: max by (job, aws_account_id, aws_region, integration_arn, status) (aws_glue_integration_status{status=~"NEEDS_ATTENTION|FAILED"}) == 1
"""
FIRING = 'ALERTS{alertstate="firing"}'

began = time.monotonic()
episodes = []


class Episode:
    """An integration is in a status that alerts, as AWS has it and as Prometheus confirmed it."""

    def __init__(self, which, status):
        self.which, self.status, self.begun = which, status, time.time()
        self.confirmed = self.ending = self.ended = None
        episodes.append(self)

    def seen(self):
        wait_for(f"{self} fires", lambda: all((job, self.which, self.status) in firing() for job in EXPORTERS), SEEN_WITHIN)
        self.confirmed = time.time()
        tell(f"{self} is seen after {self.confirmed - self.begun:.0f} s")

    def over(self):
        self.ending = time.time()

    def unseen(self):
        wait_for(f"{self} ends", lambda: all((job, self.which, self.status) not in firing() for job in EXPORTERS), SEEN_WITHIN)
        self.ended = time.time()

    def __str__(self):
        return f"{NAMES[self.which]}: {self.status}"


def tell(what):
    print(f"  {time.monotonic() - began:5.0f} s: {what}")


def firing():
    return {(labels["job"], labels["integration_arn"], labels["status"]) for labels, _ in query(prometheus.url, FIRING)}


def patch(which, status):
    answer = control("PATCH", control_path(which), {"Status": status})
    check(f"{which} becomes {status}", answer[0] == 204, answer)


def flip(which, status):
    """From now on AWS has it so: what alerted before is over, what alerts now is an episode."""
    before = next((episode for episode in episodes if episode.which == which and episode.ending is None), None)
    now = Episode(which, status) if status in ("NEEDS_ATTENTION", "FAILED") else None
    if before:
        before.over()
    patch(which, status)
    if now:
        now.seen()
    if before:
        before.unseen()


def everywhere(expression):
    """Whether an expression, with `JOB` for its exporter, has a sample for both."""
    return all(query(prometheus.url, expression.replace("JOB", f'job="{job}"')) for job in EXPORTERS)


def failures(reason):
    return f'glue_integration_exporter_poll_failures_total{{JOB,scope="lake",reason="{reason}"}}'


def fails_anew(reason):
    before = {labels["job"]: count for labels, count in query(prometheus.url, failures(reason).replace("JOB,", ""))}
    wait_for(f"polls fail: {reason}", lambda: all(
        value(prometheus.url, failures(reason).replace("JOB", f'job="{job}"')) > before.get(job, 0) for job in EXPORTERS
    ), SEEN_WITHIN)
    tell(f"polls fail: {reason}")


def up():
    wait_for("every scope is up", lambda: everywhere('min(glue_integration_exporter_scope_up{JOB}) == 1'), SEEN_WITHIN)


def fault(**members):
    control("DELETE", "faults")
    if members:
        check("fault", control("POST", "faults", members)[0] == 204)


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


def after_a_scrape(job):
    """Returns just after a scrape, so that a restart has nearly a second until the next: what is measured is not the luck of the moment."""
    def last():
        with urllib.request.urlopen(prometheus.url + "/api/v1/targets?state=active", timeout=10) as response:
            targets = json.load(response)["data"]["activeTargets"]
        return next(target["lastScrape"] for target in targets if target["labels"]["job"] == job)

    before = last()
    wait_for(f"{job} is scraped", lambda: last() != before)


def restart(end):
    for name, exporter in exporters.items():
        after_a_scrape(name)
        begun = time.monotonic()
        end(exporter)
        exporter.start()
        tell(f"{name} was started again within {time.monotonic() - begun:.2f} s")


def since(job):
    return value(prometheus.url, f'aws_glue_integration_status_since_timestamp_seconds{{job="{job}",integration_arn="{BROKEN}"}}')


def fill(**statuses):
    names = {"flips": FLIPS, "broken": BROKEN, "quiet": QUIET}
    replace_integrations([
        *({**integration(number, statuses[name]), "IntegrationArn": names[name]} for number, name in enumerate(names, 1)),
        {**integration(4, "NEEDS_ATTENTION", region="us-east-1"), "IntegrationArn": ABROAD},
    ])


def ready():
    try:
        with urllib.request.urlopen(prometheus.url + "/-/ready", timeout=10):
            return True
    except urllib.error.HTTPError:
        return False


def live():
    # It listens before it answers.
    wait_for("Prometheus is ready", ready)
    wait_for("up is 1", lambda: everywhere("up{JOB} == 1"))
    up()
    check("no alert", not firing(), firing())
    tell("all is well")

    flip(BROKEN, "NEEDS_ATTENTION")
    flip(FLIPS, "FAILED")
    flip(FLIPS, "NEEDS_ATTENTION")
    flip(FLIPS, "SYNCING")
    first_seen = {job: since(job) for job in EXPORTERS}

    fault(Kind="Error", Code="ThrottlingException")
    fails_anew("throttled")
    while_throttled = Episode(FLIPS, "FAILED")
    patch(FLIPS, "FAILED")
    fault()
    while_throttled.seen()
    flip(FLIPS, "ACTIVE")

    tell("an outage begins")
    fault(Kind="Hang")
    fails_anew("timeout")
    fault(Kind="Error", Code="InternalServiceException")
    fails_anew("server_error")
    simulator.kill()
    fails_anew("network")
    restart(Server.kill)
    # Counters began anew.
    wait_for("polls fail again", lambda: everywhere(f"{failures('network')} > 0"), SEEN_WITHIN)
    in_outage = firing()
    check("stored still says what is broken", ("stored", BROKEN, "NEEDS_ATTENTION") in in_outage, in_outage)
    check("stored keeps since when", since("stored") == first_seen["stored"], since("stored"))
    stale = query(prometheus.url, 'glue_integration_exporter_scope_stale{job="stored"} == 1')
    check("and says that it is old", len(stale) == 1, stale)
    # Both poll at the same moment; a new simulator has its own world until it is filled, and that is nobody's business.
    fails_anew("network")
    simulator.start()
    # It flipped while nobody could see it.
    unobserved = Episode(FLIPS, "NEEDS_ATTENTION")
    fill(flips="NEEDS_ATTENTION", broken="NEEDS_ATTENTION", quiet="ACTIVE")
    unobserved.seen()
    up()
    tell("the outage is over")
    check("stored kept since when", since("stored") == first_seen["stored"], since("stored"))

    before = {job: since(job) for job in EXPORTERS}
    restart(Server.stop)
    up()
    wait_for("both were scraped", lambda: all(since(job) for job in EXPORTERS))
    check("stored kept since when over a restart", since("stored") == before["stored"], since("stored"))
    moved = {job: since(job) - first_seen[job] for job in EXPORTERS}

    configure("us-east-1")
    abroad = Episode(ABROAD, "NEEDS_ATTENTION")
    reload()
    abroad.seen()
    configure()
    abroad.over()
    reload()
    abroad.unseen()
    tell("a scope came and went by reloads")
    check("stored kept since when over reloads", since("stored") == first_seen["stored"], since("stored"))

    flip(FLIPS, "ACTIVE")
    flip(BROKEN, "ACTIVE")
    return moved


def judge(moved):
    """Compares each evaluation of the alert with what happened."""
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
        check(f"{job}: exactly what happened was seen", seen == happened, seen ^ happened)
    for (job, which, status), moments in evaluated.items():
        spans = [(one.begun, one.ended) for one in episodes if (one.which, one.status) == (which, status)]
        strange = [at for at in moments if not any(begun <= at <= ended + 2 for begun, ended in spans)]
        check(f"{job}: {NAMES[which]}: {status}: fires only while it is so", not strange, strange)

    longest = {}
    for episode in episodes:
        for job in EXPORTERS:
            moments = [at for at in evaluated[job, episode.which, episode.status] if episode.confirmed <= at <= episode.ending]
            check(f"{job}: {episode} was evaluated", moments or episode.ending - episode.confirmed < 2)
            gap = max((after - before for before, after in zip(moments, moments[1:])), default=1) - 1
            longest[job] = max(longest.get(job, 0), gap)
    # The alert is evaluated each second: one evaluation without it is what a scrape in the middle of a restart costs.
    check("stored: no gap in an alert", longest["stored"] <= TIMEOUT + 0.5, longest)
    check("plain: an alert ended because of the restart in the outage", longest["plain"] > 2 * TIMEOUT, longest)
    print(f"  the longest gap in a firing alert: {longest['stored']:.1f} s with storage.path, {longest['plain']:.1f} s without")
    print(f"  after both restarts its status is said to be {moved['stored']:.0f} s younger with storage.path, {moved['plain']:.0f} s without")
    print(f"  {len(episodes)} times an integration broke, {sum(map(len, evaluated.values()))} evaluations fired, each for one of these")


if __name__ == "__main__":
    simulator = Server("life-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    world.SIMULATOR = simulator.url
    fill(flips="ACTIVE", broken="ACTIVE", quiet="ACTIVE")
    configure()
    exporters = {
        name: Server(
            f"life-{name}", WORK, [BINARY, f"--config.file={WORK}/{name}.yaml", "--web.enable-lifecycle"], "--web.listen-address",
            AWS_ENDPOINT_URL_GLUE=simulator.url,
        ).start()
        for name in EXPORTERS
    }
    with open(f"{WORK}/rules.yml", "w", encoding="utf-8") as file:
        file.write(RULES)
    with open(f"{WORK}/life.yml", "w", encoding="utf-8") as file:
        jobs = [{"job_name": name, "static_configs": [{"targets": [exporters[name].address]}]} for name in EXPORTERS]
        scraping = {"scrape_interval": "1s", "scrape_timeout": f"{TIMEOUT}s", "evaluation_interval": "1s"}
        json.dump({"global": scraping, "rule_files": [f"{WORK}/rules.yml"], "scrape_configs": jobs}, file)
    command = [PROMETHEUS, f"--config.file={WORK}/life.yml", f"--storage.tsdb.path={WORK}/life-tsdb"]
    prometheus = Server("life-prometheus", WORK, command, "--web.listen-address").start()

    judge(live())
    for server in [*exporters.values(), prometheus, simulator]:
        server.stop()
        check(f"{server.name} stops", True)
    finish()
