"""Proves that a listing of many pages arrives in Prometheus whole, each integration once.

Usage: many.py SIMULATOR PROMETHEUS COUNT PAGES    (the simulator has COUNT integrations, listed on PAGES pages)
"""

import sys

from world import REGION, check, control, finish, listed, query, value, wait_for

PROMETHEUS, COUNT, PAGES = sys.argv[2].rstrip("/"), int(sys.argv[3]), int(sys.argv[4])


def main():
    # Before boto3 asks, too: these are the exporter's requests alone.
    wait_for("all arrive", lambda: value(PROMETHEUS, "count(aws_glue_integration_info)") == COUNT, 120)
    asked = [request["Page"] for request in control("GET", "requests")[1]]
    check("pages of the first listing", asked[:PAGES] == list(range(1, PAGES + 1)), asked[: PAGES + 1])

    arns = {item["IntegrationArn"] for item in listed(REGION)}
    info = [labels["integration_arn"] for labels, _ in query(PROMETHEUS, "aws_glue_integration_info == 1")]
    check("boto3 lists as many", len(arns) == COUNT, len(arns))
    check("each once", len(info) == COUNT, len(info))
    check("the same as boto3 lists", set(info) == arns, len(set(info) ^ arns))
    active = value(PROMETHEUS, 'count(aws_glue_integration_status{status="ACTIVE"} == 1)')
    check("each has its status", active == COUNT, active)
    statuses = value(PROMETHEUS, "count(aws_glue_integration_status)")
    check("each has all rows of its status", statuses == 8 * COUNT, statuses)
    shown = value(PROMETHEUS, "glue_integration_exporter_scope_integrations")
    check("scope_integrations", shown == COUNT, shown)
    took, size = value(PROMETHEUS, "scrape_duration_seconds"), value(PROMETHEUS, "scrape_samples_scraped")
    print(f"  {COUNT} integrations on {PAGES} pages are {size:.0f} samples, scraped in {took:.2f} s")
    finish()


if __name__ == "__main__":
    main()
