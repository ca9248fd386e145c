"""Checks the output of `iam` with linters: each policy with parliament, each template with cfn-lint. parliament does not support trust
policies, so cfn-lint checks each of them in a template.

Usage: permissions.py BINARY CONFIGURATION...
"""

import json
import os
import subprocess
import sys
import tempfile

from parliament import analyze_policy_string


def iam_output(binary, configuration, style, *flags):
    command = [binary, "iam", f"--config.file={configuration}", f"--format={style}", *flags]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


# parliament wants this action to be allowed for single integrations only. The exporter lists all integrations, and AWS does not document
# the resource that it checks for a listing. With a wrong pattern, the exporter would get no names.
ALLOWED_FINDING = "RESOURCE_STAR - ['glue:DescribeIntegrations']"


def parliament_findings(policy):
    findings = [str(finding) for finding in analyze_policy_string(json.dumps(policy)).findings]
    return [finding for finding in findings if not finding.startswith(ALLOWED_FINDING)]


def cfn_lint_findings(template):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(template, file)
        file.flush()
        # cfn-lint is installed in the same virtual environment as this interpreter.
        lint = [os.path.join(os.path.dirname(sys.executable), "cfn-lint"), "--format", "json", "--template", file.name]
        lines = subprocess.run(lint, stdout=subprocess.PIPE, text=True).stdout
    return [f"{found['Rule']['Id']}: {found['Message']}" for found in json.loads(lines)]


def template_with_trust_policy(policy):
    role = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": policy}}
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Role": role}}


def check(binary, configuration, *flags):
    count = 0
    document = iam_output(binary, configuration, "json", *flags)
    roles = document["roles"]
    policies = [policy for identity in document["identities"] for policy in identity["policies"]]
    for policy in policies + [role["policy"] for role in roles]:
        findings = parliament_findings(policy)
        assert not findings, f"{configuration}: {policy}: {findings}"
        count += 1
    template = iam_output(binary, configuration, "cloudformation", *flags)
    for template in [template] + [template_with_trust_policy(role["trust_policy"]) for role in roles]:
        findings = cfn_lint_findings(template)
        assert not findings, f"{configuration}: {json.dumps(template, indent=1)}: {findings}"
        count += 1
    return count


def check_linters(binary, configuration):
    """Checks that the linters report errors in invalid documents."""
    policy = iam_output(binary, configuration, "json")["roles"][0]["policy"]
    policy["Statement"][0]["Action"] = "glue:DescribeNothing"
    assert parliament_findings(policy)
    template = iam_output(binary, configuration, "cloudformation")
    for resource in template["Resources"].values():
        resource["Properties"].pop("AssumeRolePolicyDocument", None)
    assert cfn_lint_findings(template)
    trust = iam_output(binary, configuration, "json")["roles"][0]["trust_policy"]
    trust["Statement"][0]["Effect"] = "Perhaps"
    assert cfn_lint_findings(template_with_trust_policy(trust))
    return 3


def main():
    binary, configurations = sys.argv[1], sys.argv[2:]
    count = check_linters(binary, configurations[0])
    for configuration in configurations:
        count += check(binary, configuration) + check(binary, configuration, "--show-external-id")
    print(f"{count} passed, 0 failed")


if __name__ == "__main__":
    main()
