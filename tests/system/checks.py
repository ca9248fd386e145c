"""Helpers of the system checks: the simulator, boto3, Prometheus and the counting of checks.

The first argument of each script is the URL of the simulator, unless the script starts the simulator itself.
"""

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
from botocore.config import Config

REGION = "eu-west-1"
ACCOUNT = "111122223333"
SIMULATOR = sys.argv[1].rstrip("/")

passed = failed = 0


def check(description, ok, detail=""):
    """Counts a check, and prints it if it failed."""
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {description} {detail}")


def finish():
    """Prints the counts, which `run` adds up, and exits."""
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def wait_for(description, probe, seconds=60):
    """Calls `probe` until it returns a true value, and returns that value. After the timeout, it fails the script."""
    deadline = time.monotonic() + seconds
    while not (result := probe()):
        if time.monotonic() > deadline:
            sys.exit(f"FAILED timeout after {seconds} s: {description}")
        time.sleep(0.2)
    return result


def control(method, path, body=None):
    """Sends a request to the control endpoint of the simulator. Returns (HTTP status, JSON or None)."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{SIMULATOR}/simulator/{path}", data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
            return response.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def control_path(arn):
    """Returns the path of an integration at the control endpoint."""
    return "integrations/" + urllib.parse.quote(arn, safe="")


def replace_integrations(integrations):
    """Replaces all integrations of the simulator, and ends its script."""
    check("delete all integrations", control("DELETE", "integrations")[0] == 204)
    response = control("POST", "integrations", integrations)
    check("create the integrations", response[0] == 204, response)


def client(service="glue", region=REGION, key="AKIASIMULATOR"):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=SIMULATOR,
        aws_access_key_id=key,
        aws_secret_access_key="not-a-secret",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=10),
    )


def pages(call, member, **arguments):
    """Returns all pages of an operation. It follows Marker itself, because botocore has no paginator for these operations."""
    found, marker = [], {}
    while True:
        page = call(**arguments, **marker)
        found.append(page[member])
        if "Marker" not in page:
            return found
        marker = {"Marker": page["Marker"]}


def listed(*regions):
    """Returns all inbound integrations of the regions, as boto3 parses them."""
    found = [pages(client(region=region).describe_inbound_integrations, "InboundIntegrations") for region in regions]
    return [item for region in found for page in region for item in page]


def query(prometheus, expression):
    """Runs an instant query and returns a list of (labels, value). Prometheus omits empty labels."""
    url = f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(url, timeout=30) as response:
        body = json.load(response)
    return [(sample["metric"], float(sample["value"][1])) for sample in body["data"]["result"]]


def value(prometheus, expression):
    """Returns the first value of an expression, or None if it has no sample."""
    samples = query(prometheus, expression)
    return samples[0][1] if samples else None
