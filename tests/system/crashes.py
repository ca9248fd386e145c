"""Checks the state file when the exporter is killed, the disk is full, or the disk becomes read-only.

Usage: crashes.py BINARY DISK WORK    (the exporter, a small file system to fill, and a directory for files)
"""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
import zlib

import checks
from kinds import arn, integration
from processes import Server
from checks import check, control, control_path, finish, replace_integrations, wait_for

BINARY, DISK, WORK = sys.argv[1:4]
KILLS, MANY, FEW = 20, 2000, 20
# (status in the API, status in the state file). The initial status ACTIVE is missing, so that every change is visible. There are enough of
# them that an exporter which missed a change still sees a new status.
STATUSES = [("FAILED", "Failed"), ("SYNCING", "Syncing"), ("MODIFYING", "Modifying"), ("DELETING", "Deleting"), ("CREATING", "Creating")]
FLIPS = arn(1)
FAILED = "failed to write the state file"
AGAIN = "writing the state file works again"
RESTORED = "restored data from the state file"

seed = random.randrange(1 << 32)
chance = random.Random(seed)
flips = 0


def stored(path):
    """Returns the content of a state file, or None if it does not exist. A damaged file fails the script."""
    try:
        with open(path, "rb") as file:
            head, content = file.read().split(b"\n", 1)
    except FileNotFoundError:
        return None
    if head != b"glue-integration-exporter-state 1 %08x" % zlib.crc32(content):
        sys.exit(f"FAILED {path} is damaged; seed {seed}")
    return json.loads(content)


def file_identity(path):
    """Returns a value that changes when the file is replaced, or None if it does not exist."""
    try:
        stat = os.stat(path)
        return stat.st_ino, stat.st_ctime_ns
    except FileNotFoundError:
        return None


def stored_status(path):
    state = stored(path)
    return next((row["status"] for row in state["statuses"] if row["arn"] == FLIPS), None) if state else None


def exporter(name, path):
    server = Server(
        name, WORK, [BINARY, f"--config.file={WORK}/{name}.yaml"], "--web.listen-address", AWS_ENDPOINT_URL_GLUE=simulator.url
    )
    configure(name, path)
    return server


def configure(name, path):
    # Changing the page size makes the exporter poll immediately after a reload.
    scope = {"name": "lake", "regions": ["eu-west-1"], "page_size": 1000 - flips % 500}
    with open(f"{WORK}/{name}.yaml", "w", encoding="utf-8") as file:
        json.dump({"polling": {"interval": "10s"}, "storage": {"path": path}, "scopes": [scope]}, file)


def flip():
    """Changes the status of one integration. Returns the new status for the API and for the state file."""
    global flips
    flips += 1
    page, file = STATUSES[flips % len(STATUSES)]
    check("change a status", control("PATCH", control_path(FLIPS), {"Status": page})[0] == 204)
    return page, file


def shows(server, status):
    with urllib.request.urlopen(server.url + "/metrics", timeout=10) as response:
        page = response.read().decode()
    rows = [line for line in page.splitlines() if line.startswith("aws_glue_integration_status{") and FLIPS in line]
    return any(f'status="{status}"' in row and row.endswith(" 1") for row in rows)


def change_and_poll(server, path):
    """Changes a status and waits for the poll that sees it, so that the exporter writes its state. Returns the status for the state file."""
    page, file = flip()
    configure(server.name, path)
    server.signal(signal.SIGHUP)
    wait_for(f"{server.name} shows {page}", lambda: shows(server, page))
    return file


def kills_while_writing():
    path = f"{WORK}/killed-state"
    server = exporter("killed", path)
    server.start()
    wait_for("the first state file is written", lambda: stored(path))
    server.kill()
    half_written = 0
    for _ in range(KILLS):
        flip()
        left, before = file_identity(path + ".new"), file_identity(path)
        server.start()
        # The exporter writes its state within milliseconds after the poll, so do not sleep here.
        deadline = time.monotonic() + 30
        while file_identity(path + ".new") in (None, left) and file_identity(path) == before:
            if time.monotonic() > deadline:
                sys.exit("FAILED no state file was written")
        check("the state was restored after the kill", RESTORED in server.log_text(), server.log_text())
        time.sleep(chance.uniform(0, 0.006))
        server.kill()
        half_written += os.path.exists(path + ".new")
        check("the state file has all integrations", len(stored(path)["statuses"]) == MANY)
    server.start()
    wait_for("the last state was restored", lambda: RESTORED in server.log_text())
    _, file = flip()
    # The incomplete file of the last kill must be removed.
    wait_for("the next poll is stored", lambda: stored_status(path) == file and not os.path.exists(path + ".new"))
    server.stop()
    size = os.path.getsize(path)
    print(f"  killed {KILLS} times while writing {size} bytes, {half_written} times with an incomplete file (seed {seed}): the state file was always valid")


def check_write_failure(server, path, what):
    """Checks that the exporter keeps serving, logs the error once, and keeps the old state file."""
    before = stored(path)
    for _ in range(3):
        change_and_poll(server, path)
        wait_for("the error is logged", lambda: FAILED in server.log_text())
        # Wait for the next attempt.
        time.sleep(0.8)
    count = server.log_text().count(FAILED)
    check(f"{what}: the error is logged once", count == 1, server.log_text())
    check(f"{what}: the state file is unchanged", stored(path) == before)
    check(f"{what}: there is no incomplete file", not os.path.exists(path + ".new"))
    print(f"  {what}: the exporter keeps serving, logs the error once, and keeps the state file")


def check_recovery(server, path, what):
    file = change_and_poll(server, path)
    wait_for(f"the recovery from {what} is logged", lambda: AGAIN in server.log_text())
    wait_for("the last status is stored", lambda: stored_status(path) == file)
    print(f"  after {what}: the state is stored again")


def fill_disk():
    size = 0
    with open(f"{DISK}/filler", "wb", buffering=0) as file:
        try:
            while True:
                size += file.write(b"x" * 512)
        except OSError as error:
            check("the disk is full", error.errno == errno.ENOSPC, error)
    return size


def remount(mode):
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    subprocess.run([*root, "mount", "-o", f"remount,{mode}", DISK], check=True, timeout=30)


def disk_failures():
    path = f"{DISK}/state"
    server = exporter("disk", path)
    server.start()
    wait_for("the first state file is written", lambda: stored(path))
    fill_disk()
    check_write_failure(server, path, "a full disk")
    os.remove(f"{DISK}/filler")
    check_recovery(server, path, "a full disk")
    # A new process, because each process logs the error once.
    server.stop()
    server.start()
    remount("ro")
    check_write_failure(server, path, "a read-only disk")
    page, _ = flip()
    server.stop()
    server.start()
    wait_for("the state is restored from a read-only disk", lambda: RESTORED in server.log_text())
    wait_for("the exporter polls with a read-only disk", lambda: shows(server, page))
    wait_for("the error of the read-only disk is logged", lambda: FAILED in server.log_text())
    remount("rw")
    check_recovery(server, path, "a read-only disk")
    server.stop()


if __name__ == "__main__":
    simulator = Server("crashes-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    checks.SIMULATOR = simulator.url
    replace_integrations([integration(number, "ACTIVE") for number in range(MANY)])
    kills_while_writing()
    replace_integrations([integration(number, "ACTIVE") for number in range(FEW)])
    disk_failures()
    simulator.stop()
    finish()
