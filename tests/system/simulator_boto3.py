"""Checks with boto3, the Python client of AWS, that the simulator speaks the wire protocols of AWS Glue and Amazon CloudWatch.

Usage: simulator_boto3.py http://127.0.0.1:PORT    (a simulator; the script deletes its integrations)
"""

import datetime
import time
from unittest import mock

from botocore.exceptions import ClientError

from checks import ACCOUNT, REGION, check, client, control, control_path, finish, pages, replace_integrations

COUNT = 23
PAGE = 5

# The errors of the operation and their HTTP status in Glue. The last one is not part of the API model.
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


def raised(call, **arguments):
    """Returns the ClientError of a call, or None."""
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


def without(item, *names):
    return {name: value for name, value in item.items() if name not in names}


def cloudwatch(protocol):
    """Returns a client of CloudWatch that speaks this protocol. By itself, botocore takes the first one that it knows."""
    with mock.patch("botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", (protocol,)):
        found = client("cloudwatch")
    check(f"{protocol}: protocol", found.meta.service_model.resolved_protocol == protocol)
    return found


def metrics_and_samples(found, name, end):
    """Returns all metrics, and the samples of the 14 days before `end` of six metrics. Both have several pages."""
    pages = found.get_paginator("list_metrics").paginate(Namespace="AWS/Glue/ZeroETL")
    pages = [page["Metrics"] for page in pages]
    check(f"{name}: pages of metrics", [len(page) for page in pages] == [500, 100], [len(page) for page in pages])
    metrics = sum(pages, [])
    queries = [
        {"Id": f"m{index}", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}}
        for index, metric in enumerate(metrics[:6])
    ]
    samples = {query["Id"]: [] for query in queries}
    statuses = []
    paginator = found.get_paginator("get_metric_data")
    window = {"StartTime": end - datetime.timedelta(days=14), "EndTime": end}
    for page in paginator.paginate(MetricDataQueries=queries, **window):
        statuses.append([result["StatusCode"] for result in page["MetricDataResults"]])
        for result in page["MetricDataResults"]:
            samples[result["Id"]] += zip(result["Timestamps"], result["Values"])
    check(f"{name}: pages of samples", len(statuses) == 2 and statuses[-1] == ["Complete"] * 6, statuses)
    sizes = [len(found) for found in samples.values()]
    check(f"{name}: a sample each minute", sizes == [14 * 24 * 60] * 6, sizes)
    first, value = samples["m0"][0]
    check(f"{name}: newest first", first == end - datetime.timedelta(minutes=1) and isinstance(value, float), first)
    return metrics, samples


def check_cloudwatch():
    tables = [{"TableName": f"table-{index}", "IntervalMinutes": 1} for index in range(300)]
    replace_integrations([{**integration(0), "Tables": tables}])
    end = datetime.datetime.fromtimestamp(time.time() // 3600 * 3600, datetime.timezone.utc)
    read = {}
    # The first one is what boto3 speaks by itself.
    for protocol in ("json", "smithy-rpc-v2-cbor"):
        found = cloudwatch(protocol)
        read[protocol] = metrics_and_samples(found, protocol, end)
        error = raised(found.list_metrics, NextToken="nonsense")
        check(f"{protocol}: invalid token", code(error) == "ValidationException" and "NextToken" in str(error), error)
        arguments = {"MetricDataQueries": [], "StartTime": 0, "EndTime": 1}
        error = raised(found.get_metric_data, **arguments)
        check(f"{protocol}: no queries", code(error) == "ValidationError", error)
        control("POST", "faults", {"Kind": "Error", "Code": "InternalServiceError", "Message": "m"})
        error = raised(found.list_metrics)
        control("DELETE", "faults")
        check(f"{protocol}: fault", isinstance(error, found.exceptions.InternalServiceFault), error)
        check(f"{protocol}: status", error.response["ResponseMetadata"]["HTTPStatusCode"] == 500, error.response)
    check("both protocols read the same", read["json"] == read["smithy-rpc-v2-cbor"])
    check("boto3 speaks JSON", client("cloudwatch").meta.service_model.resolved_protocol == "json")
    check("another region", client("cloudwatch", region="us-east-1").list_metrics()["Metrics"] == [])


def main():
    glue = client()
    inbound = glue.describe_inbound_integrations
    created = glue.describe_integrations
    items = [integration(index) for index in range(COUNT)]
    arns = [item["IntegrationArn"] for item in items]

    # No integrations.
    control("DELETE", "faults")
    check("delete all", control("DELETE", "integrations")[0] == 204)
    check("empty listing", inbound()["InboundIntegrations"] == [])
    check("add all", control("POST", "integrations", items)[0] == 204)

    # Pages.
    found = pages(inbound, "InboundIntegrations", MaxRecords=PAGE)
    check("page sizes", [len(page) for page in found] == [5, 5, 5, 5, 3], [len(page) for page in found])
    check("each integration once, ordered by ARN", [item["IntegrationArn"] for page in found for item in page] == arns)
    found = pages(created, "Integrations", MaxRecords=PAGE)
    check("DescribeIntegrations: each integration once", [item["IntegrationArn"] for page in found for item in page] == arns)
    answer = inbound()
    check("one page by default", len(answer["InboundIntegrations"]) == COUNT and "Marker" not in answer)
    check("request id", len(answer["ResponseMetadata"]["RequestId"]) == 36)

    # Filters.
    answer = inbound(IntegrationArn=arns[7])
    check("IntegrationArn", [item["IntegrationArn"] for item in answer["InboundIntegrations"]] == [arns[7]])
    target = items[1]["TargetArn"]
    found = pages(inbound, "InboundIntegrations", MaxRecords=PAGE, TargetArn=target)
    found = [item["IntegrationArn"] for page in found for item in page]
    check("TargetArn", found == arns[1::3], found)
    check("TargetArn without integrations", inbound(TargetArn=target + "x")["InboundIntegrations"] == [])
    check("both filters match", len(inbound(IntegrationArn=arns[1], TargetArn=target)["InboundIntegrations"]) == 1)
    answer = created(IntegrationIdentifier=arns[7])
    check("IntegrationIdentifier", [item["IntegrationName"] for item in answer["Integrations"]] == ["name-7"])
    check("Tags", answer["Integrations"][0]["Tags"] == [{"key": "team", "value": "data"}])

    # Members and their types.
    item = inbound(IntegrationArn=arns[0])["InboundIntegrations"][0]
    check("CreateTime is a datetime", isinstance(item["CreateTime"], datetime.datetime))
    check("CreateTime", item["CreateTime"].timestamp() == 1700000000.25, item["CreateTime"])
    check("ContinuousSync is a bool", item["IntegrationConfig"]["ContinuousSync"] is True)
    check("other members", without(item, "CreateTime") == without(items[0], "CreateTime", "IntegrationName", "Tags"), item)
    bare = without(items[0], "IntegrationConfig", "Errors")
    path = control_path(arns[0])
    check("PUT", control("PUT", path, bare)[0] == 204)
    item = inbound(IntegrationArn=arns[0])["InboundIntegrations"][0]
    check("absent optionals", "IntegrationConfig" not in item and "Errors" not in item, item)
    check("PATCH", control("PATCH", path, {"Status": "FAILED", "Errors": []})[0] == 204)
    item = inbound(IntegrationArn=arns[0])["InboundIntegrations"][0]
    check("patched", (item["Status"], item["Errors"]) == ("FAILED", []), item)

    # Invalid requests.
    error = raised(inbound, IntegrationArn=arns[0] + "x")
    check("unknown IntegrationArn", isinstance(error, glue.exceptions.IntegrationNotFoundFault), error)
    error = raised(inbound, Marker="nonsense")
    check("unknown Marker", code(error) == "ValidationException" and "Marker" in str(error), error)
    error = raised(inbound, MaxRecords=0)
    check("MaxRecords 0", code(error) == "SerializationException" and "MaxRecords" in str(error), error)
    error = raised(glue.get_databases)
    check("another operation", code(error) == "UnknownOperationException", error)
    error = raised(client("dynamodb").list_tables)
    check("another service", code(error) == "UnknownOperationException", error)
    check("another region", client(region="us-east-1").describe_inbound_integrations()["InboundIntegrations"] == [])

    # Every error of the operation, as a fault.
    for name, status in ERRORS.items():
        message = f"the message of {name}"
        pushed = control("POST", "faults", {"Kind": "Error", "Code": name, "Message": message})
        check(f"{name}: add the fault", pushed == (204, None), pushed)
        error = raised(inbound)
        check(f"{name}: code", code(error) == name, error)
        response = error.response if error else {"Error": {}, "ResponseMetadata": {}}
        check(f"{name}: message", response["Error"].get("Message") == message, response)
        check(f"{name}: status", response["ResponseMetadata"].get("HTTPStatusCode") == status, response)
        if name != "ThrottlingException":
            error_class = getattr(glue.exceptions, name)
            check(f"{name}: class", type(error) is error_class, type(error))
            check(f"{name}: member", response.get("Message") == message, response)
        check(f"{name}: delete the fault", control("DELETE", "faults") == (204, None) and raised(inbound) is None)

    # The control endpoint.
    status, answer = control("POST", "faults", {"Kind": "Error", "Message": "m"})
    check("invalid fault", status == 400 and "Code" in answer["message"], answer)
    status, answer = control("PUT", path, {**bare, "Status": 5})
    check("invalid integration", status == 400 and all(word in answer["message"] for word in ("Status", "5")), answer)
    status, answer = control("GET", "requests")
    check("requests", status == 200 and answer[-1]["Operation"] == "DescribeInboundIntegrations", answer[-1])
    check("DELETE", control("DELETE", path)[0] == 204 and len(inbound()["InboundIntegrations"]) == COUNT - 1)
    check("DELETE again", control("DELETE", path)[0] == 404)

    check_cloudwatch()

    finish()


if __name__ == "__main__":
    main()
