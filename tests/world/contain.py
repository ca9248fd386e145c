"""Becomes one container: mounts its volumes over its root, gives up what it must, and is its program from then on.

Usage: contain.py SPECIFICATION, JSON with root, mounts ([source, path, read only]), uid, gid, groups, environment and command. In mount and
PID namespaces of its own, as root.
"""

import ctypes
import json
import os
import subprocess
import sys

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        of = json.load(file)
    root = of["root"]
    mount("--bind", root, root)
    for source, path, read_only in of["mounts"]:
        # As a runtime makes them, before the root is made unwritable.
        os.makedirs(root + path, exist_ok=True)
        mount("--bind", source, root + path)
        if read_only:
            mount("-o", "remount,bind,ro", root + path)
    os.makedirs(f"{root}/proc", exist_ok=True)
    mount("-t", "proc", "proc", f"{root}/proc")
    mount("-o", "remount,bind,ro", root)
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        capabilities = range(int(file.read()) + 1)
    libc = ctypes.CDLL(None, use_errno=True)
    # From here on there is no Python to load anything of.
    os.chroot(root)
    os.chdir("/")
    for capability in capabilities:
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "dropping a capability")
    os.setgroups(of["groups"])
    os.setresgid(*[of["gid"]] * 3)
    os.setresuid(*[of["uid"]] * 3)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "giving up new privileges")
    os.execve(of["command"][0], of["command"], of["environment"])


main()
