"""Servers that a check itself starts, kills and starts again."""

import ctypes
import os
import re
import signal
import subprocess
import time

LISTENING = re.compile(r'msg=(?:"Listening on"|listening) .*\baddress=([0-9.:]+)$', re.MULTILINE)
PR_SET_PDEATHSIG = 1


def die_with_parent():
    """However this script ends, none of its servers outlives it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """A server. It keeps the address that it got at its first start."""

    def __init__(self, name, work, command, listen, **env):
        self.name, self.command, self.listen, self.env = name, command, listen, env
        self.log, self.address, self.process = f"{work}/{name}.log", "127.0.0.1:0", None

    def start(self):
        self.mark = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.command, f"{self.listen}={self.address}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.env}, preexec_fn=die_with_parent,
            )
        deadline = time.monotonic() + 30
        while not (found := LISTENING.search(self.said())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"FAILED {self.name} does not listen:\n{self.said()[-2000:]}")
            time.sleep(0.01)
        self.address = found.group(1)
        return self

    @property
    def url(self):
        return f"http://{self.address}"

    def said(self):
        """What it logged since its last start."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            log.seek(self.mark)
            return log.read()

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def stop(self):
        self.process.terminate()
        status = self.process.wait(30)
        if status:
            raise SystemExit(f"FAILED {self.name} ended with {status}")
