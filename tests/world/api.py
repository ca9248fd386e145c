"""Proves with schemathesis that the API does what its OpenAPI file says.

Usage: api.py EXPORTER WORK    (its URL, and a directory for files)

The file cannot know which scopes and regions are configured, and others are refused: they are filled in from what the API lists.
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
    described = pathlib.Path(WORK, "openapi.json")
    described.write_text(json.dumps(api))
    command = [
        str(pathlib.Path(sys.executable).with_name("schemathesis")), "run", str(described), f"--url={EXPORTER}",
        "--checks=all", f"--max-examples={EXAMPLES}", "--seed=1", "--workers=1", "--no-color", "--request-timeout=10",
    ]
    # It keeps a directory of its own where it is started.
    ran = subprocess.run(command, cwd=WORK, capture_output=True, text=True, timeout=300, env={**os.environ, "CI": "1"})
    said = ran.stdout + ran.stderr
    generated = re.search(r"(\d+) generated, \d+ passed", said)
    if ran.returncode or not generated or f"Tested: {len(api['paths'])}" not in said:
        print(re.sub(r"(.{300}).*", r"\1", said)[-6000:])
        sys.exit("FAILED schemathesis has a finding, or did not test each path")
    print(f"  schemathesis asked {generated.group(1)} times and found nothing")
    print(f"{len(api['paths'])} passed, 0 failed")


if __name__ == "__main__":
    main()
