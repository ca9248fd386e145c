"""Servers that a check script starts, kills and restarts."""

import ctypes
import os
import re
import signal
import subprocess
import time

LISTENING = re.compile(r'msg=(?:"Listening on"|listening) .*\baddress=([0-9.:]+)$', re.MULTILINE)
PR_SET_PDEATHSIG = 1


def die_with_parent():
    """Lets the kernel kill the child process when this script ends, whatever the reason."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """A server process. It keeps the address of its first start."""

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
        while not (found := LISTENING.search(self.log_text())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"FAILED {self.name} did not start to listen:\n{self.log_text()[-2000:]}")
            time.sleep(0.01)
        self.address = found.group(1)
        return self

    @property
    def url(self):
        return f"http://{self.address}"

    def log_text(self):
        """Returns the log since the last start."""
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
            raise SystemExit(f"FAILED {self.name} exited with {status}")
