"""Proves against boto3 that the simulator speaks the wire protocol of AWS Glue.

Usage: simulator_boto3.py http://127.0.0.1:PORT    (a simulator with any world; it is emptied)

boto3 is AWS' own client for Python: what it reads, AWS' model allows.
"""

import datetime
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

BOTO3_VERSION = "1.44.5"  # pip install boto3==1.44.5

REGION = "eu-west-1"
ACCOUNT = "111122223333"
COUNT = 23
PAGE = 5

# The errors of the operation with the HTTP status that Glue sends; the last is not in the operation's model.
ERRORS = {
    "AccessDeniedException": 400,
    "EntityNotFoundException": 400,
    "IntegrationNotFoundFault": 400,
    "InternalServerException": 400,
    "InternalServiceException": 500,
    "InvalidInputException": 400,
    "OperationNotSupportedException": 400,
    "TargetResourceNotFound": 400,
    "ValidationException": 400,
    "ThrottlingException": 400,
}

BASE = sys.argv[1].rstrip("/")
passed = failed = 0


def check(what, good, detail=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {what} {detail}")


def control(method, path, body=None):
    """Steers the simulator; returns (HTTP status, JSON or None)."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{BASE}/simulator/{path}", data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
            return response.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def client(service="glue", region=REGION, key="AKIASIMULATOR"):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=BASE,
        aws_access_key_id=key,
        aws_secret_access_key="not-a-secret",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=2),
    )


def raised(call, **arguments):
    """The ClientError that the call raises, or None."""
    try:
        call(**arguments)
    except ClientError as error:
        return error
    return None


def code(error):
    return error.response["Error"]["Code"] if error else None


def integration(index):
    return {
        "IntegrationArn": f"arn:aws:glue:{REGION}:{ACCOUNT}:integration:{index:08d}-0000-4000-8000-000000000000",
        "SourceArn": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/t{index}",
        "TargetArn": f"arn:aws:glue:{REGION}:{ACCOUNT}:database/d{index % 3}",
        "Status": "ACTIVE",
        "CreateTime": 1700000000.25,
        "IntegrationConfig": {
            "RefreshInterval": "60",
            "ContinuousSync": True,
            "SourceProperties": {"secretArn": "s"},
        },
        "Errors": [{"ErrorCode": "C", "ErrorMessage": "M"}, {"ErrorMessage": "only a message"}],
        "IntegrationName": f"name-{index}",
        "Tags": [{"key": "team", "value": "data"}],
    }


def pages(call, member, **arguments):
    """All pages, following Marker by hand: botocore has no paginator for these operations."""
    found, marker = [], {}
    while True:
        answer = call(MaxRecords=PAGE, **arguments, **marker)
        found.append(answer[member])
        if "Marker" not in answer:
            return found
        marker = {"Marker": answer["Marker"]}


def without(item, *names):
    return {name: value for name, value in item.items() if name not in names}


def main():
    check("boto3 version", boto3.__version__ == BOTO3_VERSION, boto3.__version__)
    glue = client()
    inbound = glue.describe_inbound_integrations
    created = glue.describe_integrations
    items = [integration(index) for index in range(COUNT)]
    arns = [item["IntegrationArn"] for item in items]

    # Nothing at all.
    control("DELETE", "faults")
    check("empty the world", control("DELETE", "integrations")[0] == 204)
    check("empty listing", inbound()["InboundIntegrations"] == [])
    check("add all", control("POST", "integrations", items)[0] == 204)

    # Pages.
    found = pages(inbound, "InboundIntegrations")
    check("page sizes", [len(page) for page in found] == [5, 5, 5, 5, 3], [len(page) for page in found])
    check("each once, by ARN", [item["IntegrationArn"] for page in found for item in page] == arns)
    found = pages(created, "Integrations")
    check("DescribeIntegrations: each once", [item["IntegrationArn"] for page in found for item in page] == arns)
    answer = inbound()
    check("one page by default", len(answer["InboundIntegrations"]) == COUNT and "Marker" not in answer)
    check("request id", len(answer["ResponseMetadata"]["RequestId"]) == 36)

    # Filters.
    answer = inbound(IntegrationArn=arns[7])
    check("IntegrationArn", [item["IntegrationArn"] for item in answer["InboundIntegrations"]] == [arns[7]])
    target = items[1]["TargetArn"]
    found = [item["IntegrationArn"] for page in pages(inbound, "InboundIntegrations", TargetArn=target) for item in page]
    check("TargetArn", found == arns[1::3], found)
    check("TargetArn of nothing", inbound(TargetArn=target + "x")["InboundIntegrations"] == [])
    check("both agree", len(inbound(IntegrationArn=arns[1], TargetArn=target)["InboundIntegrations"]) == 1)
    check("both disagree", inbound(IntegrationArn=arns[0], TargetArn=target)["InboundIntegrations"] == [])
    answer = created(IntegrationIdentifier=arns[7])
    check("IntegrationIdentifier", [item["IntegrationName"] for item in answer["Integrations"]] == ["name-7"])
    check("Tags", answer["Integrations"][0]["Tags"] == [{"key": "team", "value": "data"}])

    # Fields and their types.
    item = inbound(IntegrationArn=arns[0])["InboundIntegrations"][0]
    check("CreateTime is a datetime", isinstance(item["CreateTime"], datetime.datetime))
    check("CreateTime", item["CreateTime"].timestamp() == 1700000000.25, item["CreateTime"])
    check("ContinuousSync is a bool", item["IntegrationConfig"]["ContinuousSync"] is True)
    check("the rest", without(item, "CreateTime") == without(items[0], "CreateTime", "IntegrationName", "Tags"), item)
    bare = without(items[0], "IntegrationConfig", "Errors")
    path = "integrations/" + urllib.parse.quote(arns[0], safe="")
    check("PUT", control("PUT", path, bare)[0] == 204)
    item = inbound(IntegrationArn=arns[0])["InboundIntegrations"][0]
    check("absent optionals", "IntegrationConfig" not in item and "Errors" not in item, item)
    check("PATCH", control("PATCH", path, {"Status": "FAILED", "Errors": []})[0] == 204)
    item = inbound(IntegrationArn=arns[0])["InboundIntegrations"][0]
    check("patched", (item["Status"], item["Errors"]) == ("FAILED", []), item)

    # What the service itself refuses.
    error = raised(inbound, IntegrationArn=arns[0] + "x")
    check("unknown IntegrationArn", isinstance(error, glue.exceptions.IntegrationNotFoundFault), error)
    error = raised(inbound, Marker="nonsense")
    check("unknown Marker", code(error) == "ValidationException" and "Marker" in str(error), error)
    error = raised(inbound, MaxRecords=0)
    check("MaxRecords 0", code(error) == "ValidationException" and "MaxRecords" in str(error), error)
    error = raised(inbound, IntegrationArn="a" * 129)
    check("long IntegrationArn", code(error) == "ValidationException" and "IntegrationArn" in str(error), error)
    error = raised(glue.get_databases)
    check("another operation", code(error) == "UnknownOperationException", error)
    error = raised(client("dynamodb").list_tables)
    check("another service", code(error) == "UnknownOperationException", error)
    check("another region", client(region="us-east-1").describe_inbound_integrations()["InboundIntegrations"] == [])

    # Each error of the operation, as a fault that hits one request.
    for name, status in ERRORS.items():
        message = f"the message of {name}"
        pushed = control("POST", "faults", {"Kind": "Error", "Code": name, "Message": message, "Times": 1})
        check(f"{name}: pushed", pushed == (204, None), pushed)
        error = raised(inbound)
        check(f"{name}: code", code(error) == name, error)
        response = error.response if error else {"Error": {}, "ResponseMetadata": {}}
        check(f"{name}: message", response["Error"].get("Message") == message, response)
        check(f"{name}: status", response["ResponseMetadata"].get("HTTPStatusCode") == status, response)
        if name != "ThrottlingException":
            modelled = getattr(glue.exceptions, name)
            check(f"{name}: class", type(error) is modelled, type(error))
            check(f"{name}: member", response.get("Message") == message, response)
        check(f"{name}: once", raised(inbound) is None)

    # The control endpoint.
    status, answer = control("POST", "faults", {"Kind": "Delay", "Milliseconds": -1})
    check("bad fault", status == 400 and all(word in answer["message"] for word in ("Milliseconds", "-1", "86400000")), answer)
    status, answer = control("PUT", path, {**bare, "Status": 5})
    check("bad integration", status == 400 and all(word in answer["message"] for word in ("Status", "5")), answer)
    status, answer = control("GET", "requests")
    check("requests", status == 200 and answer[-1]["Operation"] == "DescribeInboundIntegrations", answer[-1])
    check("DELETE", control("DELETE", path)[0] == 204 and len(inbound()["InboundIntegrations"]) == COUNT - 1)
    check("DELETE again", control("DELETE", path)[0] == 404)

    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
