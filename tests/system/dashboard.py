"""Runs all queries of the dashboard in Prometheus, and compares the results with the listings of boto3.

Usage: dashboard.py BINARY PROMETHEUS DASHBOARD WORK    (two programs, the dashboard, and a directory for files)

Prometheus scrapes the demo and a second replica. The replica has no names and gets no more responses from AWS, so its data is outdated. The
dashboard must still show each integration once, with its name and its present status.
"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter

import checks
from processes import Server
from checks import check, client, control, control_path, finish, listed, pages, query, value, wait_for

BINARY, PROMETHEUS, DASHBOARD, WORK = sys.argv[1:5]
REGIONS = ["eu-west-1", "us-east-1"]
STATUSES = ["CREATING", "ACTIVE", "MODIFYING", "FAILED", "DELETING", "SYNCING", "NEEDS_ATTENTION", "UNKNOWN"]
UNHEALTHY_STATUSES = {"FAILED", "SYNCING", "NEEDS_ATTENTION", "UNKNOWN"}
# This integration is ACTIVE. The replica saw it as FAILED before its polls started to fail.
OUTDATED = "arn:aws:glue:eu-west-1:111122223333:integration:3f8e7d6c-5b4a-4938-8271-605f4e3d2c04"
# The table of this integration fails, before Glue reports an error. The tables of OUTDATED have been silent for three days.
FAILING_TABLE = "arn:aws:glue:eu-west-1:111122223333:integration:1b7d2c94-8e1f-4f0e-b7a3-2c9d4e5f6a02"
MISSING = "arn:aws:glue:eu-west-1:111122223333:integration:00000000-0000-4000-8000-000000000000"
JOB = "glue-integration-exporter"
RATE_INTERVAL = "30s"
STEP, LENGTH = 5, 60  # step and length of range queries, in seconds


def api(path, **parameters):
    with urllib.request.urlopen(f"{prometheus.url}/api/v1/{path}?" + urllib.parse.urlencode(parameters, doseq=True), timeout=30) as response:
        return json.load(response)["data"]


def interpolate(text, chosen):
    """Replaces the variables of a query with the chosen values, like Grafana."""
    def value_of(match):
        name = match.group(1)
        return RATE_INTERVAL if name == "__rate_interval" else chosen[name]

    return re.sub(r"\$\{?(\w+)\}?", value_of, text)


def options(variable, chosen):
    """Returns the options of a variable as (text, value)."""
    text = interpolate(variable["query"]["query"], chosen)
    if found := re.fullmatch(r"label_values\((.+), (\w+)\)", text):
        values = api(f"label/{found.group(2)}/values", **{"match[]": found.group(1)})
        return [(one, one) for one in values]
    # Like Grafana, ignore everything after the first line.
    expression = re.fullmatch(r"query_result\((.+)\)\s*", text).group(1)
    pattern = re.compile(variable["regex"].removeprefix("/").removesuffix("/g").replace("(?<", "(?P<"))
    offered = []
    for labels, _ in query(prometheus.url, expression):
        row = "{" + ",".join(f' {name}="{text}"' for name, text in sorted(labels.items())) + "}"
        groups = {name: text for match in pattern.finditer(row) for name, text in match.groupdict().items() if text}
        offered.append((groups.get("text", groups["value"]), groups["value"]))
    return offered


def choose(variables, **choices):
    """Returns a value for each variable: the one in `choices`, or all values."""
    chosen = {}
    for variable in variables:
        name = variable["name"]
        if variable["type"] == "datasource":
            check("the data source is a Prometheus", variable["query"] == "prometheus")
            continue
        offered = options(variable, chosen)
        check(f"the variable {name} has options", offered)
        check(f"the variable {name} has no duplicate values", len({value for _, value in offered}) == len(offered), offered)
        if name in choices:
            chosen[name] = choices[name]
        elif "allValue" in variable:
            chosen[name] = variable["allValue"]
        elif variable["includeAll"]:
            chosen[name] = "(" + "|".join(re.escape(value).replace("\\-", "-") for _, value in offered) + ")"
        else:
            chosen[name] = offered[0][1]
    return chosen


def run_query(target, chosen):
    """Runs a query and returns [(labels, last number)], without series that have no number."""
    expression = interpolate(target["expr"], chosen)
    if target["instant"]:
        found = [(labels, number) for labels, number in query(prometheus.url, expression)]
    else:
        now = time.time()
        data = api("query_range", query=expression, start=now - LENGTH, end=now, step=STEP)
        found = []
        for series in data["result"]:
            numbers = [float(number) for _, number in series["values"] if number != "NaN"]
            found += [(series["metric"], numbers[-1])] if numbers else []
    return [(labels, number) for labels, number in found if number == number]


def columns(panel, chosen):
    """Returns the field names of a table before they are renamed."""
    fields = {"Time"}
    for target in panel["targets"]:
        for labels, _ in run_query(target, chosen):
            fields |= set(labels) - {"__name__"}
        fields.add("Value" if len(panel["targets"]) == 1 else f"Value #{target['refId']}")
    return fields


def names():
    """Returns the integration names of the demo account by ARN."""
    return {
        item["IntegrationArn"]: item["IntegrationName"]
        for region in REGIONS for page in pages(client(region=region).describe_integrations, "Integrations") for item in page
    }


def status_of(item):
    status = item["Status"].upper()
    return status if status in STATUSES else "UNKNOWN"


def expected(*regions):
    items = listed(*regions)
    counts = {status: 0 for status in STATUSES} | Counter(status_of(item) for item in items)
    wrong = {item["IntegrationArn"]: status_of(item) for item in items if status_of(item) in UNHEALTHY_STATUSES or item.get("Errors")}
    errors = Counter(error.get("ErrorCode", "none") for item in items for error in item.get("Errors", []))
    return counts, wrong, errors


def wait_until_equal(what, have, want):
    """Waits until both functions return the same value. The demo changes meanwhile, so call both each time."""
    seen = {}

    def probe():
        seen["have"], seen["want"] = have(), want()
        return seen["have"] == seen["want"]

    deadline = time.monotonic() + 30
    while not (ok := probe()) and time.monotonic() < deadline:
        time.sleep(0.2)
    check(what, ok, seen)


def by_label(target, label, chosen):
    return {labels.get(label, ""): number for labels, number in run_query(target, chosen)}


def compare_with_listing(panels, chosen, regions):
    def target(title, ref="A"):
        return next(target for target in panels[title]["targets"] if target["refId"] == ref)

    where = " and ".join(regions)
    wait_until_equal(f"{where}: integrations", lambda: run_query(target("Integrations"), chosen), lambda: [({}, float(sum(expected(*regions)[0].values())))])
    for title in ("Integrations by status", "Integrations by status over time"):
        wait_until_equal(f"{where}: {title}", lambda: by_label(target(title), "status", chosen), lambda: expected(*regions)[0])

    def codes():
        return {code: count for code, count in by_label(target("Errors by code"), "error_code", chosen).items() if count}

    wait_until_equal(f"{where}: errors by code", codes, lambda: expected(*regions)[2])

    def rows():
        found = run_query(target("Problems", "since"), chosen)
        check("one row per unhealthy integration", len({labels["integration_arn"] for labels, _ in found}) == len(found), found)
        return {labels["integration_arn"]: labels["status"] for labels, _ in found}

    wait_until_equal(f"{where}: problems", rows, lambda: expected(*regions)[1])
    known, sources = names(), {item["IntegrationArn"]: (item["SourceArn"], item["TargetArn"]) for item in listed(*regions)}
    for labels, since in run_query(target("Problems", "since"), chosen):
        arn = labels["integration_arn"]
        check("an unhealthy integration has its name", labels.get("integration_name") == known.get(arn), labels)
        check("an unhealthy integration has source and target", (labels["source_arn"], labels["target_arn"]) == sources[arn], labels)
        check("the time of its status is plausible", began <= since / 1000 <= time.time(), since)
    missing = [labels["integration_arn"] for labels, _ in run_query(target("Problems", "missing"), chosen)]
    check("the missing integrations", missing == ([MISSING] if "eu-west-1" in regions else []), missing)


def one_integration(panels, chosen, arn):
    item = next(item for item in listed(*REGIONS) if item["IntegrationArn"] == arn)
    chosen = {**chosen, "integration": arn}
    codes = {text["text"]: float(code) for code, text in panels["Status"]["fieldConfig"]["defaults"]["mappings"][0]["options"].items()}
    for title in ("Status", "Status over time"):
        check("both panels have the same mapping of statuses", panels[title]["fieldConfig"]["defaults"]["mappings"] == panels["Status"]["fieldConfig"]["defaults"]["mappings"])

        def want():
            now = next(item for item in listed(*REGIONS) if item["IntegrationArn"] == arn)
            return [codes[status_of(now)]]

        wait_until_equal(f"{title} of {arn}", lambda: [number for _, number in run_query(panels[title]["targets"][0], chosen)], want)
    config = item.get("IntegrationConfig", {})
    for title, member in {"Refresh interval": "RefreshInterval", "Sync": "ContinuousSync"}.items():
        have = [number for _, number in run_query(panels[title]["targets"][0], chosen)]
        want = [float(config[member]) * (60 if member == "RefreshInterval" else 1)] if member in config else []
        check(f"{title} of {arn}", have == want, (have, want))
    table = run_query(panels["Source and target"]["targets"][0], chosen)
    check(f"{arn} has one row", len(table) == 1 and table[0][0].get("integration_name") == names().get(arn), table)


def check_exporter_panels(panels, chosen, **values):
    """Waits until panels show the given values. Keys are `title` or `title/query name`."""
    for title, want in values.items():
        title, _, ref = title.partition("/")
        targets = [target for target in panels[title]["targets"] if not ref or target["refId"] == ref]

        def have():
            return [number for _, number in run_query(targets[0], chosen)]

        matches = want if callable(want) else (lambda numbers, want=want: numbers == [want])
        wait_for(f"{title} {ref} shows the expected value, not {have()}", lambda: matches(have()))
        check(f"{title} {ref}", True)


def freshness(panels, chosen):
    by_name = {target["refId"]: target for target in panels["Data of each integration"]["targets"]}

    def column(name):
        return {labels["integration_arn"]: number for labels, number in run_query(by_name[name], chosen)}

    failing = {arn: number for arn, number in column("failing").items() if number}
    check("one table fails", failing == {FAILING_TABLE: 1}, failing)
    for name in ("age", "now"):
        age = column(name).get(OUTDATED, 0) / 86400
        check(f"{name}: the data is more than three days old", 3 <= age < 4.1, age)
    check_exporter_panels(panels, chosen, **{"Failing tables": 1, "Failing freshness": 0, "Tables": lambda numbers: numbers and numbers[0] > 1})
    print("  the panels of freshness show the table that fails and the data that is more than three days old")


def throttle(panels, chosen):
    """Checks the panels of the exporters before and after AWS throttles all requests."""
    check_exporter_panels(panels, chosen, **{
        "Exporters up/up": 2, "Exporters up/of": 2, "Shards/there": 1, "Shards/expected": 1, "Scopes": 3, "Missing": 1,
        "Failing scopes": 0, "Scopes with stale data": 0, "Results of polls/up": 3, "Results of polls/down": 0,
        "Throttling/throttled": 0, "Configuration": 1,
    })
    check("fault", control("POST", "faults", {"Kind": "Error", "Code": "ThrottlingException"})[0] == 204)
    check_exporter_panels(panels, chosen, **{
        "Failing scopes": 3, "Scopes with stale data": 3, "Results of polls/up": 0, "Results of polls/down": 3,
        "Throttling/throttled": lambda numbers: len(numbers) == 1 and 0.1 < numbers[0] <= 1, "Missing": 1,
        "Failures of polls by reason": lambda numbers: numbers and max(numbers) > 0,
    })
    print("  when AWS throttles all requests, the panels show that all scopes are down")


def main():
    with open(DASHBOARD, encoding="utf-8") as file:
        board = json.load(file)
    variables = board["templating"]["list"]
    panels = {panel["title"]: panel for panel in board["panels"] if panel["type"] != "row"}

    everything = choose(variables)
    offered = {value: text for text, value in options(variables[-1], everything)}
    known = names()
    check("the variable offers every integration with its name", offered == {
        item["IntegrationArn"]: f"{known.get(item['IntegrationArn'], '')} {item['IntegrationArn']}" for item in listed(*REGIONS)
    }, offered)

    queries = 0
    for title, panel in panels.items():
        for target in panel["targets"]:
            # Rates need two scrapes with a request between them.
            wait_for(f"{title}: {target['refId']} has data", lambda: run_query(target, everything))
            check(f"{title}: {target['refId']} has data", True)
            queries += 1
        if panel["type"] == "table":
            fields = columns(panel, everything)
            organize = next(step["options"] for step in panel["transformations"] if step["id"] == "organize")
            touched = set(organize["excludeByName"]) | set(organize["indexByName"])
            check(f"{title}: the transformation handles exactly the existing columns", touched == fields, touched ^ fields)
            shown = {organize["renameByName"].get(name, name) for name in organize["indexByName"]}
            overridden = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
            check(f"{title}: every override refers to a column", overridden <= shown, overridden - shown)
    print(f"  {queries} queries of {len(panels)} panels and {len(variables) - 1} variables have data")

    compare_with_listing(panels, everything, REGIONS)
    narrow = choose(variables, region="us-east-1", scope="discovery")
    compare_with_listing(panels, narrow, ["us-east-1"])
    for arn in offered:
        one_integration(panels, everything, arn)
    print(f"  beside a replica that is blind, {len(offered)} integrations are counted once, with the status and the name that AWS has")
    blind = query(prometheus.url, f'aws_glue_integration_status{{integration_arn="{OUTDATED}", status="FAILED"}} == 1')
    check("the replica still exports the old status", len(blind) == 1, blind)
    freshness(panels, everything)
    throttle(panels, everything)
    finish()


def start():
    """Starts the demo, a replica with its own simulator, and Prometheus."""
    demo = Server("dashboard-demo", WORK, [BINARY, "demo"], "--web.listen-address").start()
    other = Server("dashboard-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    checks.SIMULATOR = other.url
    check("set the status FAILED for the replica", control("PATCH", control_path(OUTDATED), {"Status": "FAILED"})[0] == 204)
    with open(f"{WORK}/replica.yaml", "w", encoding="utf-8") as file:
        scopes = [{"name": "discovery", "regions": REGIONS}, {"name": "orders", "integration_arns": [MISSING]}]
        json.dump({"polling": {"interval": "10s"}, "scopes": scopes}, file)  # JSON is valid YAML
    replica = Server(
        "dashboard-replica", WORK, [BINARY, f"--config.file={WORK}/replica.yaml"], "--web.listen-address", AWS_ENDPOINT_URL_GLUE=other.url,
    ).start()
    job = {"job_name": JOB, "static_configs": [{"targets": [demo.address, replica.address]}]}
    with open(f"{WORK}/dashboard.yml", "w", encoding="utf-8") as file:
        json.dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}, file)
    command = [PROMETHEUS, f"--config.file={WORK}/dashboard.yml", f"--storage.tsdb.path={WORK}/dashboard-tsdb"]
    prometheus = Server("dashboard-prometheus", WORK, command, "--web.listen-address").start()
    wait_for("Prometheus is ready", lambda: "Server is ready" in prometheus.log_text())
    up = f'glue_integration_exporter_scope_up{{instance="{replica.address}"}}'
    wait_for("the replica has polled all scopes", lambda: value(prometheus.url, f"count({up} == 1)") == 3)
    other.kill()
    wait_for("all scopes of the replica are down", lambda: value(prometheus.url, f"count({up} == 0)") == 3)
    checks.SIMULATOR = "http://" + re.search(r"endpoint=([0-9.:]+)", demo.log_text()).group(1)
    return prometheus


if __name__ == "__main__":
    began = time.time()
    prometheus = start()
    main()
