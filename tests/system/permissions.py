"""Checks the output of `iam` and deploy/iam/cloudformation.yaml with linters: each policy with parliament, the template with cfn-lint.
parliament does not support trust policies, so cfn-lint checks each of them in a template.

Usage: permissions.py BINARY CONFIGURATION...
"""

import json
import os
import subprocess
import sys
import tempfile

from parliament import analyze_policy_string


TEMPLATE = "deploy/iam/cloudformation.yaml"


def iam_output(binary, configuration, *flags):
    command = [binary, "iam", f"--config.file={configuration}", *flags]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


# parliament wants this action to be allowed for single integrations only. The exporter lists all integrations, and AWS does not document
# the resource that it checks for a listing. With a wrong pattern, the exporter would get no names.
ALLOWED_FINDING = "RESOURCE_STAR - ['glue:DescribeIntegrations']"


def parliament_findings(policy):
    findings = [str(finding) for finding in analyze_policy_string(json.dumps(policy)).findings]
    return [finding for finding in findings if not finding.startswith(ALLOWED_FINDING)]


def cfn_lint_findings(path):
    # cfn-lint is installed in the same virtual environment as this interpreter.
    lint = [os.path.join(os.path.dirname(sys.executable), "cfn-lint"), "--format", "json", "--template", path]
    lines = subprocess.run(lint, stdout=subprocess.PIPE, text=True).stdout
    return [f"{found['Rule']['Id']}: {found['Message']}" for found in json.loads(lines)]


def findings_in_text(text, suffix):
    with tempfile.NamedTemporaryFile("w", suffix=suffix) as file:
        file.write(text)
        file.flush()
        return cfn_lint_findings(file.name)


def resource_findings(kind, properties):
    resource = {"Type": kind, "Properties": properties}
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Resource": resource}}
    return findings_in_text(json.dumps(template), ".json")


def trust_policy_findings(policy):
    return resource_findings("AWS::IAM::Role", {"AssumeRolePolicyDocument": policy})


def check(binary, configuration, *flags):
    count = 0
    document = iam_output(binary, configuration, *flags)
    roles = document["roles"]
    policies = [policy for identity in document["identities"] for policy in identity["policies"]]
    for policy in policies + [role["policy"] for role in roles]:
        findings = parliament_findings(policy)
        assert not findings, f"{configuration}: {policy}: {findings}"
        count += 1
    for role in roles:
        findings = trust_policy_findings(role["trust_policy"])
        assert not findings, f"{configuration}: {json.dumps(role, indent=1)}: {findings}"
        count += 1
    return count


def check_linters(binary, configuration):
    """Checks that the linters report errors in invalid documents."""
    policy = iam_output(binary, configuration)["roles"][0]["policy"]
    policy["Statement"][0]["Action"] = "glue:DescribeNothing"
    assert parliament_findings(policy)
    with open(TEMPLATE, encoding="utf-8") as file:
        assert findings_in_text(file.read().replace("AssumeRolePolicyDocument:", "TrustPolicy:"), ".yaml")
    trust = iam_output(binary, configuration)["roles"][0]["trust_policy"]
    trust["Statement"][0]["Effect"] = "Perhaps"
    assert trust_policy_findings(trust)
    return 3


def main():
    binary, configurations = sys.argv[1], sys.argv[2:]
    count = check_linters(binary, configurations[0])
    findings = cfn_lint_findings(TEMPLATE)
    assert not findings, f"{TEMPLATE}: {findings}"
    count += 1
    for configuration in configurations:
        count += check(binary, configuration) + check(binary, configuration, "--show-external-id")
    print(f"{count} passed, 0 failed")


if __name__ == "__main__":
    main()
