"""Proves that linters have no complaint about the permissions that `iam` prints: parliament about each policy, cfn-lint about the
templates, and about each trust policy, which parliament does not know, within one.

Usage: permissions.py BINARY CONFIGURATION...
"""

import json
import os
import subprocess
import sys
import tempfile

from parliament import analyze_policy_string


def printed(binary, configuration, style, *flags):
    command = [binary, "iam", f"--config.file={configuration}", f"--format={style}", *flags]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


# It knows that this action can be allowed on single integrations. The exporter lists all of them, and what resource AWS judges a
# listing by is documented nowhere: a pattern that it is not judged by would cost the names.
LISTED = "RESOURCE_STAR - ['glue:DescribeIntegrations']"


def complaints_of_parliament(policy):
    findings = [str(finding) for finding in analyze_policy_string(json.dumps(policy)).findings]
    return [finding for finding in findings if not finding.startswith(LISTED)]


def complaints_of_cfn_lint(template):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(template, file)
        file.flush()
        # Beside this interpreter: where the requirements are installed.
        lint = [os.path.join(os.path.dirname(sys.executable), "cfn-lint"), "--format", "json", "--template", file.name]
        lines = subprocess.run(lint, stdout=subprocess.PIPE, text=True).stdout
    return [f"{found['Rule']['Id']}: {found['Message']}" for found in json.loads(lines)]


def trusting(policy):
    role = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": policy}}
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Role": role}}


def check(binary, configuration, *flags):
    count = 0
    document = printed(binary, configuration, "json", *flags)
    roles = document["roles"]
    policies = [policy for identity in document["identities"] for policy in identity["policies"]]
    for policy in policies + [role["policy"] for role in roles]:
        complaints = complaints_of_parliament(policy)
        assert not complaints, f"{configuration}: {policy}: {complaints}"
        count += 1
    template = printed(binary, configuration, "cloudformation", *flags)
    for template in [template] + [trusting(role["trust_policy"]) for role in roles]:
        complaints = complaints_of_cfn_lint(template)
        assert not complaints, f"{configuration}: {json.dumps(template, indent=1)}: {complaints}"
        count += 1
    return count


def linters_look(binary, configuration):
    """What is wrong is complained of, so no complaint means something."""
    policy = printed(binary, configuration, "json")["roles"][0]["policy"]
    policy["Statement"][0]["Action"] = "glue:DescribeNothing"
    assert complaints_of_parliament(policy)
    template = printed(binary, configuration, "cloudformation")
    for resource in template["Resources"].values():
        resource["Properties"].pop("AssumeRolePolicyDocument", None)
    assert complaints_of_cfn_lint(template)
    trust = printed(binary, configuration, "json")["roles"][0]["trust_policy"]
    trust["Statement"][0]["Effect"] = "Perhaps"
    assert complaints_of_cfn_lint(trusting(trust))
    return 3


def main():
    binary, configurations = sys.argv[1], sys.argv[2:]
    count = linters_look(binary, configurations[0])
    for configuration in configurations:
        count += check(binary, configuration) + check(binary, configuration, "--show-external-id")
    print(f"{count} passed, 0 failed")


if __name__ == "__main__":
    main()
