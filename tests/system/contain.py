"""Runs a program as a container: mounts the volumes, drops privileges and executes the program.

Usage: contain.py SPECIFICATION    (as root, in its own mount and PID namespaces)

The specification is a JSON file with root, mounts ([source, path, read only]), uid, gid, groups, environment and command.
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
        spec = json.load(file)
    root = spec["root"]
    mount("--bind", root, root)
    for source, path, read_only in spec["mounts"]:
        # Like a container runtime, create mount points before the root becomes read-only.
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
    # Python cannot import modules after this, because they are outside of the new root.
    os.chroot(root)
    os.chdir("/")
    for capability in capabilities:
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "failed to drop a capability")
    os.setgroups(spec["groups"])
    os.setresgid(*[spec["gid"]] * 3)
    os.setresuid(*[spec["uid"]] * 3)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "failed to set no_new_privs")
    os.execve(spec["command"][0], spec["command"], spec["environment"])


main()
