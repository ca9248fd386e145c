"""Checks with schemathesis that the API matches its OpenAPI file.

Usage: api.py EXPORTER WORK    (the URL of the exporter, and a directory for files)

The API rejects unknown scopes and regions, and the OpenAPI file does not list them. So this script adds those that the API returns.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.request

import yaml

EXPORTER, WORK = sys.argv[1].rstrip("/"), sys.argv[2]
EXAMPLES = 300


def get(path):
    with urllib.request.urlopen(EXPORTER + path, timeout=10) as response:
        return response.read()


def main():
    api = yaml.safe_load(get("/api/v1/openapi.yaml"))
    scopes = json.loads(get("/api/v1/scopes"))["items"]
    for name, member in (("Scope", "scope"), ("Region", "region")):
        api["components"]["parameters"][name]["schema"]["enum"] = sorted({item[member] for item in scopes})
    openapi = pathlib.Path(WORK, "openapi.json")
    openapi.write_text(json.dumps(api))
    command = [
        str(pathlib.Path(sys.executable).with_name("schemathesis")), "run", str(openapi), f"--url={EXPORTER}",
        "--checks=all", f"--max-examples={EXAMPLES}", "--seed=1", "--workers=1", "--no-color", "--request-timeout=10",
    ]
    # schemathesis writes a directory into its working directory.
    ran = subprocess.run(command, cwd=WORK, capture_output=True, text=True, timeout=300, env={**os.environ, "CI": "1"})
    output = ran.stdout + ran.stderr
    generated = re.search(r"(\d+) generated, \d+ passed", output)
    if ran.returncode or not generated or f"Tested: {len(api['paths'])}" not in output:
        print(re.sub(r"(.{300}).*", r"\1", output)[-6000:])
        sys.exit("FAILED schemathesis reported errors or did not test every path")
    print(f"  schemathesis sent {generated.group(1)} requests without findings")
    print(f"{len(api['paths'])} passed, 0 failed")


if __name__ == "__main__":
    main()
