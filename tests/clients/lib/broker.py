# SPDX-License-Identifier: Apache-2.0
"""A broker as a process: Weir, or Apache Kafka in its place."""
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
READY_S_MAX = {"weir": 20, "kafka": 180}
STOP_S_MAX = 30
LOG_LINES_SHOWN = 60
SKIPPED = 77


def skip(reason):
    """Ends the program: skipped, or failed where everything is required."""
    if os.environ.get("WEIR_REQUIRE_ALL") == "1":
        sys.exit(f"FAILED required, but {reason}")
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def free_port():
    """A port that was free a moment ago, below those the kernel gives to clients: one that keeps on
    connecting to a broker that is down may else meet itself and hold the port."""
    while True:
        port = random.randrange(20000, 32000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
            return port
        except OSError:
            pass


class Broker:
    """One data folder and log, and the process that runs on them, start after start."""

    def __init__(self, kind, port=0, settings=(), wrap=()):
        self.kind = kind
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-test-"))
        self.data = self.folder / "data"
        self.log = self.folder / "broker.log"
        self.failed = True  # until somebody says otherwise the folder is worth keeping
        self.process = None
        self.command = list(wrap)
        if kind == "kafka":
            self.command += [HERE / "kafka-broker", "serve", "--data", self.data, "--port",
                             str(port)]
        else:
            weir = pathlib.Path(os.environ.get("WEIR", ROOT / "build/weir")).resolve()
            if not weir.exists():
                shutil.rmtree(self.folder)
                skip(f"{weir} is not built")
            self.command += [weir, "serve", "--data", self.data, "--listen", f"127.0.0.1:{port}"]
        for setting in settings:
            self.command += ["--set", setting]

    def start(self):
        """A session of its own, so that kill() reaches what a wrapper started."""
        self.log_start = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)

    def text(self):
        """What was logged since the last start."""
        with open(self.log, "rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")

    def wait_ready(self):
        """The address of the ready line, once it accepts a connection."""
        deadline = time.monotonic() + READY_S_MAX[self.kind]
        while time.monotonic() < deadline:
            found = re.search(r"listeners=\"?(?:PLAINTEXT://)?(127\.0\.0\.1:(\d+))", self.text())
            if found:
                socket.create_connection(("127.0.0.1", int(found.group(2))), 5).close()
                return found.group(1)
            code = self.process.poll()
            if code == SKIPPED:
                self.failed = False
                skip(self.text().strip())
            if code is not None:
                raise RuntimeError(f"broker ended with {code} before it was ready")
            time.sleep(0.01)
        raise RuntimeError(f"no ready line within {READY_S_MAX[self.kind]} s")

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """What is wrong with how it ended, as a list of sentences."""
        wrong = []
        if self.process.poll() is not None:
            wrong.append(f"the broker ended by itself, code {self.process.returncode}")
        else:
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(STOP_S_MAX)
                if code != 0:
                    wrong.append(f"exit code after SIGTERM is {code}, expected 0")
            except subprocess.TimeoutExpired:
                wrong.append(f"still running {STOP_S_MAX} s after SIGTERM")
                self.kill()
        errors = re.findall(r"^.*\blevel=error\b.*$", self.log.read_text(errors="replace"),
                            re.MULTILINE)
        if errors:
            wrong.append(f"{len(errors)} error lines in its log, the first: {errors[0]}")
        return wrong

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        if not self.failed:
            shutil.rmtree(self.folder)
        elif self.log.exists():
            lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
            print(f"--- end of the broker's log, folder kept: {self.folder}", *lines, sep="\n")
