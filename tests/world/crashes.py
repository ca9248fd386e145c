"""What may happen to the state file: a kill at any moment, a full disk, a disk that turns read-only.

Usage: crashes.py BINARY DISK WORK    (a program, a small file system that may be filled, and a directory for files)
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

import world
from kinds import arn, integration
from processes import Server
from world import check, control, control_path, finish, replace_world, wait_for

BINARY, DISK, WORK = sys.argv[1:4]
KILLS, MANY, FEW = 20, 2000, 20
# As the page and as the file name them. None is the one that all begin with; and so many that the next is news also to an exporter that
# missed one.
STATUSES = [("FAILED", "Failed"), ("SYNCING", "Syncing"), ("MODIFYING", "Modifying"), ("DELETING", "Deleting"), ("CREATING", "Creating")]
FLIPS = arn(1)
FAILED = "failed to write the state file"
AGAIN = "writing the state file works again"
RESTORED = "restored data from the state file"

seed = random.randrange(1 << 32)
chance = random.Random(seed)
flips = 0


def stored(path):
    """What a state file holds, None if there is none; fails the script if it is damaged."""
    try:
        with open(path, "rb") as file:
            head, content = file.read().split(b"\n", 1)
    except FileNotFoundError:
        return None
    if head != b"glue-integration-exporter-state 1 %08x" % zlib.crc32(content):
        sys.exit(f"FAILED {path} is damaged; seed {seed}")
    return json.loads(content)


def made(path):
    """Tells one file of this name from the next, None if there is none."""
    try:
        about = os.stat(path)
        return about.st_ino, about.st_ctime_ns
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
    # The size of pages is another one each time: a scope that changed is polled at once.
    scope = {"name": "lake", "regions": ["eu-west-1"], "page_size": 1000 - flips % 500}
    with open(f"{WORK}/{name}.yaml", "w", encoding="utf-8") as file:
        json.dump({"polling": {"interval": "10s"}, "storage": {"path": path}, "scopes": [scope]}, file)


def flip():
    """Returns the new status."""
    global flips
    flips += 1
    page, file = STATUSES[flips % len(STATUSES)]
    check("flip", control("PATCH", control_path(FLIPS), {"Status": page})[0] == 204)
    return page, file


def shows(server, status):
    with urllib.request.urlopen(server.url + "/metrics", timeout=10) as response:
        page = response.read().decode()
    rows = [line for line in page.splitlines() if line.startswith("aws_glue_integration_status{") and FLIPS in line]
    return any(f'status="{status}"' in row and row.endswith(" 1") for row in rows)


def poke(server, path):
    """A status changes, and a poll sees it: there is something to be written. Returns what the file should say of it."""
    page, file = flip()
    configure(server.name, path)
    server.signal(signal.SIGHUP)
    wait_for(f"{server.name} shows {page}", lambda: shows(server, page))
    return file


def killed_while_writing():
    path = f"{WORK}/killed-state"
    server = exporter("killed", path)
    server.start()
    wait_for("a first state", lambda: stored(path))
    server.kill()
    half_written = 0
    for _ in range(KILLS):
        flip()
        left, before = made(path + ".new"), made(path)
        server.start()
        # The first poll sees the flip, and it is written soon after, within milliseconds: none may be slept away.
        deadline = time.monotonic() + 30
        while made(path + ".new") in (None, left) and made(path) == before:
            if time.monotonic() > deadline:
                sys.exit("FAILED nothing is written")
        check("the state of the one killed was restored", RESTORED in server.said(), server.said())
        time.sleep(chance.uniform(0, 0.006))
        server.kill()
        half_written += os.path.exists(path + ".new")
        check("all integrations are stored", len(stored(path)["statuses"]) == MANY)
    server.start()
    wait_for("the last state was restored", lambda: RESTORED in server.said())
    _, file = flip()
    # Of what the last kill left half written nothing may stay.
    wait_for("the next poll is stored", lambda: stored_status(path) == file and not os.path.exists(path + ".new"))
    server.stop()
    size = os.path.getsize(path)
    print(f"  killed {KILLS} times while it wrote {size} bytes, {half_written} times half way (seed {seed}): the file was always whole")


def cannot_write(server, path, what):
    """The exporter goes on, says it once, and what was stored stays."""
    before = stored(path)
    for _ in range(3):
        poke(server, path)
        wait_for("it is said", lambda: FAILED in server.said())
        # Long enough for the next attempt.
        time.sleep(0.8)
    said = server.said().count(FAILED)
    check(f"{what}: said once", said == 1, server.said())
    check(f"{what}: what was stored is as it was", stored(path) == before)
    check(f"{what}: nothing is left half written", not os.path.exists(path + ".new"))
    print(f"  {what}: the page goes on, it is said once, and what was stored stays")


def can_write(server, path, what):
    file = poke(server, path)
    wait_for(f"{what} is over", lambda: AGAIN in server.said())
    wait_for("the last status is stored", lambda: stored_status(path) == file)
    print(f"  {what} is over: data are stored again")


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


def disk_in_trouble():
    path = f"{DISK}/state"
    server = exporter("disk", path)
    server.start()
    wait_for("a first state", lambda: stored(path))
    fill_disk()
    cannot_write(server, path, "a full disk")
    os.remove(f"{DISK}/filler")
    can_write(server, path, "a full disk")
    # Another process, so that its log begins anew.
    server.stop()
    server.start()
    remount("ro")
    cannot_write(server, path, "a read-only disk")
    page, _ = flip()
    server.stop()
    server.start()
    wait_for("a read-only disk is read at the start", lambda: RESTORED in server.said())
    wait_for("and polls go on", lambda: shows(server, page))
    wait_for("and it is said", lambda: FAILED in server.said())
    remount("rw")
    can_write(server, path, "a read-only disk")
    server.stop()


if __name__ == "__main__":
    simulator = Server("crashes-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    world.SIMULATOR = simulator.url
    replace_world([integration(number, "ACTIVE") for number in range(MANY)])
    killed_while_writing()
    replace_world([integration(number, "ACTIVE") for number in range(FEW)])
    disk_in_trouble()
    simulator.stop()
    finish()
