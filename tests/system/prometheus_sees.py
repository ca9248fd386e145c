"""Checks that Prometheus has exactly the integrations that boto3 lists.

Usage: prometheus_sees.py SIMULATOR PROMETHEUS INTERVAL    (INTERVAL: seconds between two polls of the exporter)

The expected samples are computed from the responses of boto3, as docs/metrics.md documents the metrics. The simulator has the integrations of
`kinds.py`, which `prepare.py` created.
"""

import sys

from kinds import GONE, QUIET, WATCHED
from checks import REGION, check, control, control_path, finish, listed, query, value, wait_for

PROMETHEUS, INTERVAL = sys.argv[2].rstrip("/"), int(sys.argv[3])
REGIONS = [REGION, "us-east-1"]
STATUSES = ["CREATING", "ACTIVE", "MODIFYING", "FAILED", "DELETING", "SYNCING", "NEEDS_ATTENTION", "UNKNOWN"]
# A poll may start just before a change, and a scrape just before the end of the poll.
DETECTION_TIMEOUT = 2 * INTERVAL + 10
ATTENTION = 'aws_glue_integration_status{status="NEEDS_ATTENTION"} == 1'


def status_of(item):
    return item["Status"].upper() if item["Status"].upper() in STATUSES else "UNKNOWN"


def expected(items, deleted=()):
    """Returns the samples of the integrations: {(metric, labels): value}. It assumes at most 20 error codes."""
    samples = {}

    def put_one(arn, metric, sample, **labels):
        labels = {"integration_arn": arn, "aws_region": arn.split(":")[3], "aws_account_id": arn.split(":")[4], **labels}
        labels = {name: text for name, text in labels.items() if text}
        samples["aws_glue_integration_" + metric, frozenset(labels.items())] = float(sample)

    def put_info(item):
        source, target = item["SourceArn"], item["TargetArn"]
        services = {"source_service": source.split(":")[2], "target_service": target.split(":")[2]}
        put_one(item["IntegrationArn"], "info", 1, source_arn=source, target_arn=target, **services)

    for item in deleted:
        put_info(item)
    for missing in [GONE, *(item["IntegrationArn"] for item in deleted)]:
        put_one(missing, "present", 0)
        put_one(missing, "stale", 0)
    for item in items:
        arn, config, errors = item["IntegrationArn"], item.get("IntegrationConfig", {}), item.get("Errors", [])

        def put(metric, sample, **labels):
            put_one(arn, metric, sample, **labels)

        put_info(item)
        put("present", 1)
        put("stale", 0)
        for status in STATUSES:
            put("status", status == status_of(item), status=status)
        put("errors", len(errors))
        codes = [error.get("ErrorCode", "none") for error in errors]
        for code in codes:
            put("errors_by_code", codes.count(code), error_code=code)
        put("created_timestamp_seconds", item["CreateTime"].timestamp())
        if config.get("RefreshInterval", "").isdecimal():
            put("refresh_interval_seconds", int(config["RefreshInterval"]) * 60)
        if "ContinuousSync" in config:
            put("continuous_sync", config["ContinuousSync"])
    return samples


def scraped(metrics):
    """Returns the samples from Prometheus, without `integration_name`: DescribeInboundIntegrations does not return names."""
    names = "|".join(sorted(metrics))
    samples, found = {}, 0
    for labels, sample in query(PROMETHEUS, f'{{__name__=~"{names}"}}'):
        metric = labels.pop("__name__")
        for other in ("instance", "job", "integration_name"):
            labels.pop(other, None)
        samples[metric, frozenset(labels.items())] = sample
        found += 1
    check("no duplicate series", found == len(samples), f"{found} series for {len(samples)}")
    return samples


def compare(when, deleted=()):
    want = expected(listed(*REGIONS), deleted)
    metrics = {metric for metric, _ in want}
    have = scraped(metrics)
    for metric in sorted(metrics):
        differs = {key for key in want.keys() | have.keys() if key[0] == metric and want.get(key) != have.get(key)}
        detail = [(sorted(key[1]), "boto3", want.get(key), "Prometheus", have.get(key)) for key in differs]
        check(f"{when}: {metric}", not differs, detail)
    print(f"  {when}: {len(want)} samples of {len(metrics)} metrics match boto3")


def needing_attention():
    return {labels["integration_arn"] for labels, _ in query(PROMETHEUS, ATTENTION)}


def listed_needing_attention():
    return {item["IntegrationArn"] for item in listed(*REGIONS) if status_of(item) == "NEEDS_ATTENTION"}


def main():
    wait_for("up is 1", lambda: value(PROMETHEUS, "up") == 1)
    wait_for("each scope was polled", lambda: value(PROMETHEUS, "count(glue_integration_exporter_scope_up == 1)") == 3)

    attention = listed_needing_attention()
    check("only some integrations have NEEDS_ATTENTION", 0 < len(attention) < len(listed(*REGIONS)), attention)
    check("NEEDS_ATTENTION", needing_attention() == attention, needing_attention() ^ attention)
    compare("initially")

    age = "aws_glue_integration_age_seconds"
    late = query(PROMETHEUS, f"abs(timestamp({age}) - aws_glue_integration_created_timestamp_seconds - {age}) > 2")
    check("the age is computed at the scrape", not late, late)
    check("every integration has an age", value(PROMETHEUS, f"count({age})") == len(listed(*REGIONS)))
    print("  the age is correct")

    answer = control("PATCH", control_path(QUIET), {"Status": "NEEDS_ATTENTION", "Errors": [{"ErrorCode": "Flipped"}]})
    check("change a status", answer[0] == 204, answer)
    wait_for(f"{QUIET} needs attention", lambda: QUIET in needing_attention(), DETECTION_TIMEOUT)
    check("NEEDS_ATTENTION after the status change", needing_attention() == listed_needing_attention() == attention | {QUIET})
    compare("after the status change")

    watched = [item for item in listed(*REGIONS) if item["IntegrationArn"] == WATCHED]
    check("DELETE", control("DELETE", control_path(WATCHED))[0] == 204)
    present = f'aws_glue_integration_present{{integration_arn="{WATCHED}"}}'
    wait_for(f"{WATCHED} is gone", lambda: value(PROMETHEUS, present) == 0, DETECTION_TIMEOUT)
    # The other scope also lists the integration, and polls at another time.
    gone = f'absent(aws_glue_integration_errors{{integration_arn="{WATCHED}"}})'
    wait_for(f"{WATCHED} is no longer exported", lambda: value(PROMETHEUS, gone), DETECTION_TIMEOUT)
    compare("after a removal", watched)
    finish()


if __name__ == "__main__":
    main()
