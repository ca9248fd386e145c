"""Checks that Prometheus gets a listing of many pages completely, with each integration once.

Usage: many.py SIMULATOR PROMETHEUS COUNT PAGES    (the simulator has COUNT integrations on PAGES pages)
"""

import sys

from checks import REGION, check, control, finish, listed, query, value, wait_for

PROMETHEUS, COUNT, PAGES = sys.argv[2].rstrip("/"), int(sys.argv[3]), int(sys.argv[4])


def main():
    # Read the requests before boto3 sends its own.
    wait_for("Prometheus has all integrations", lambda: value(PROMETHEUS, "count(aws_glue_integration_info)") == COUNT, 120)
    requested = [request["Page"] for request in control("GET", "requests")[1]]
    check("pages of the first listing", requested[:PAGES] == list(range(1, PAGES + 1)), requested[: PAGES + 1])

    arns = {item["IntegrationArn"] for item in listed(REGION)}
    info = [labels["integration_arn"] for labels, _ in query(PROMETHEUS, "aws_glue_integration_info == 1")]
    check("boto3 lists COUNT integrations", len(arns) == COUNT, len(arns))
    check("each integration has one info series", len(info) == COUNT, len(info))
    check("the ARNs are those of boto3", set(info) == arns, len(set(info) ^ arns))
    active = value(PROMETHEUS, 'count(aws_glue_integration_status{status="ACTIVE"} == 1)')
    check("each integration is ACTIVE", active == COUNT, active)
    statuses = value(PROMETHEUS, "count(aws_glue_integration_status)")
    check("each integration has all status series", statuses == 8 * COUNT, statuses)
    count = value(PROMETHEUS, "glue_integration_exporter_scope_integrations")
    check("scope_integrations", count == COUNT, count)
    took, size = value(PROMETHEUS, "scrape_duration_seconds"), value(PROMETHEUS, "scrape_samples_scraped")
    print(f"  {COUNT} integrations on {PAGES} pages: {size:.0f} samples, scraped in {took:.2f} s")
    finish()


if __name__ == "__main__":
    main()
