# Ansible's way into the container of a build step: every command is run by `cutover build-enter`,
# files travel through its standard input and output.
DOCUMENTATION = """
name: cutover
short_description: work on the container of a build step
description: [Runs commands in the container of a cutover build step.]
author: cutover
options:
  enter:
    description: the command that enters the container
    type: path
    required: true
    vars: [{name: cutover_enter}]
"""

import os
import shlex
import subprocess

from ansible.errors import AnsibleError
from ansible.plugins.connection import ConnectionBase

BUFFER = 65536


class Connection(ConnectionBase):
    transport = "cutover"
    has_pipelining = True
    has_tty = False

    def _connect(self):
        self._connected = True
        return self

    def _start(self, command, **streams):
        words = [self.get_option("enter"), "/bin/sh", "-c", command]
        return subprocess.Popen(words, stderr=subprocess.PIPE, **streams)

    def exec_command(self, cmd, in_data=None, sudoable=False):
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        process = self._start(cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        out, err = process.communicate(in_data)
        return process.returncode, out, err

    def put_file(self, in_path, out_path):
        super().put_file(in_path, out_path)
        command = "cat > %s" % shlex.quote(self._absolute(out_path))
        with open(in_path, "rb") as source:
            process = self._start(command, stdin=source, stdout=subprocess.PIPE)
            self._finish(process, "send %s to %s" % (in_path, out_path))

    def fetch_file(self, in_path, out_path):
        super().fetch_file(in_path, out_path)
        command = "cat %s" % shlex.quote(self._absolute(in_path))
        with open(out_path, "wb") as target:
            process = self._start(command, stdin=subprocess.DEVNULL, stdout=target)
            self._finish(process, "fetch %s to %s" % (in_path, out_path))

    def close(self):
        self._connected = False

    @staticmethod
    def _absolute(path):
        return path if path.startswith("/") else os.path.join("/", path)

    @staticmethod
    def _finish(process, what):
        err = process.communicate()[1]
        if process.returncode != 0:
            raise AnsibleError("failed to %s: %s" % (what, err.decode(errors="replace").strip()))
