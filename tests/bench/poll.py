"""Lists all inbound integrations for each input line, and prints the CPU seconds, the number of pages and the number of integrations.

Usage: poll.py URL    (the URL of the simulated AWS Glue; the first line of the output is the version of boto3)
"""

import sys
import time

import boto3

glue = boto3.client(
    "glue",
    region_name="eu-west-1",
    endpoint_url=sys.argv[1],
    aws_access_key_id="AKIDEXAMPLE",
    aws_secret_access_key="not-a-secret",
)


def listing():
    """Lists all pages. It follows Marker itself, because botocore has no paginator for this operation."""
    pages, found, marker = 0, [], {}
    while True:
        answer = glue.describe_inbound_integrations(**marker)
        pages += 1
        found += answer["InboundIntegrations"]
        if "Marker" not in answer:
            return pages, len(found)
        marker = {"Marker": answer["Marker"]}


print(boto3.__version__, flush=True)
for _ in sys.stdin:
    start = time.process_time()
    counts = listing()
    print(time.process_time() - start, *counts, flush=True)
