"""What the checks of the real world share: the simulator, what boto3 lists there, Prometheus, and counting.

The first argument of each script is the simulator's URL, unless it starts the simulator itself.
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


def check(what, good, detail=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {what} {detail}")


def finish():
    """Ends the script with its counts, which `run` adds up."""
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def wait_for(what, probe, seconds=60):
    """The first answer of `probe` that is true; fails the script if there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        if time.monotonic() > deadline:
            sys.exit(f"FAILED waited {seconds} s: {what}")
        time.sleep(0.2)
    return answer


def control(method, path, body=None):
    """Steers the simulator; returns (HTTP status, JSON or None)."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{SIMULATOR}/simulator/{path}", data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
            return response.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def control_path(arn):
    """Where the control endpoint has one integration."""
    return "integrations/" + urllib.parse.quote(arn, safe="")


def replace_world(integrations):
    """Puts these in place of all there were; none of them moves by itself."""
    check("empty the world", control("DELETE", "integrations")[0] == 204)
    answer = control("POST", "integrations", integrations)
    check("fill the world", answer[0] == 204, answer)


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
    """All pages, following Marker by hand: botocore has no paginator for these operations."""
    found, marker = [], {}
    while True:
        answer = call(**arguments, **marker)
        found.append(answer[member])
        if "Marker" not in answer:
            return found
        marker = {"Marker": answer["Marker"]}


def listed(*regions):
    """Every inbound integration of these regions, as boto3 reads it."""
    found = [pages(client(region=region).describe_inbound_integrations, "InboundIntegrations") for region in regions]
    return [item for region in found for page in region for item in page]


def query(prometheus, expression):
    """An instant query: a list of (labels, value). Prometheus leaves out labels that are empty."""
    url = f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(url, timeout=30) as response:
        answer = json.load(response)
    return [(sample["metric"], float(sample["value"][1])) for sample in answer["data"]["result"]]


def value(prometheus, expression):
    """The one value of an expression, None if it has no sample."""
    samples = query(prometheus, expression)
    return samples[0][1] if samples else None
