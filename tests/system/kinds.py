"""Test integrations for `prepare.py`: every status, absent optional members, and strings that could break parsers."""

from checks import ACCOUNT, REGION

# Quotes, backslashes (one at the end, one before an n), line ends, delimiters of labels and lines, outer spaces, several scripts.
HOSTILE = ' "quoted" \\n \\" a\nb\r\n{x="y"} 1 # HELP\t=,; é 漢字 🦀 \u202e\u2028\ufeff\x7f\0 \\'


def arn(number, region=REGION, separator=":"):
    return f"arn:aws:glue:{region}:{ACCOUNT}:integration{separator}{number:08d}-0000-4000-8000-000000000000"


def integration(number, status, region=REGION, **members):
    return {
        "IntegrationArn": arn(number, region),
        "SourceArn": f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/t{number}",
        "TargetArn": f"arn:aws:glue:{region}:{ACCOUNT}:database/d{number % 3}",
        "Status": status,
        "CreateTime": 1700000000 + number,
        "IntegrationConfig": {"RefreshInterval": "60", "ContinuousSync": True},
        **members,
    }


# The configuration contains WATCHED, which exists, and GONE, which does not. QUIET is ACTIVE until the check changes it.
WATCHED, GONE, QUIET = arn(1), arn(99), arn(2)

INTEGRATIONS = [
    integration(1, "NEEDS_ATTENTION", Errors=[{"ErrorCode": "A", "ErrorMessage": "m"}] * 2 + [{"ErrorMessage": "no code"}]),
    integration(2, "ACTIVE", CreateTime=1700000002.25),
    integration(3, "CREATING", Errors=[]),
    integration(4, "MODIFYING", IntegrationConfig={"RefreshInterval": "1440", "ContinuousSync": False}),
    integration(5, "FAILED", Errors=[{"ErrorCode": HOSTILE}, {"ErrorCode": HOSTILE + "."}, {}]),
    integration(6, "DELETING", IntegrationConfig={}),
    integration(7, "SYNCING", IntegrationConfig={"RefreshInterval": "rate(15 minutes)"}),
    # Statuses that AWS documents outside of its API model.
    integration(8, "needs_attention"),
    integration(9, "REPLICATING"),
    integration(10, HOSTILE),
    integration(11, "ACTIVE", SourceArn=f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{HOSTILE}"),
    integration(12, "ACTIVE", TargetArn=f"arn:aws:glue:{REGION}:{ACCOUNT}:database/{HOSTILE}"),
    # These two have the same text if adjacent label values are concatenated.
    integration(13, "ACTIVE", SourceArn="arn:aws:s3:::sales", TargetArn=f"arn:aws:glue:{REGION}:{ACCOUNT}:database/_eu"),
    integration(14, "ACTIVE", SourceArn="arn:aws:s3:::sales_", TargetArn=f"arn:aws:glue:{REGION}:{ACCOUNT}:database/eu"),
    integration(15, "ACTIVE", region="us-east-1"),
    integration(16, "NEEDS_ATTENTION", region="us-east-1", Errors=[{"ErrorCode": "A"}]),
    {name: member for name, member in integration(17, "ACTIVE").items() if name != "IntegrationConfig"},
    {**integration(18, "ACTIVE"), "IntegrationArn": arn(18, separator="/")},
]
