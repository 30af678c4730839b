"""The commands in the README have the shown results."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import unittest

from emulator import DOCUMENTED, CODECOMMIT, check_credential, environment

README = pathlib.Path(__file__, "../../../README.md").resolve()
ENDPOINT = "http://127.0.0.1:4566"


class Readme(unittest.TestCase):
    def test_the_three_lines(self):
        _, section = README.read_text().split("\nThe emulator and the AWS CLI, from nothing:\n")
        lines = re.search(r"```console\n(.*?)```", section, re.S)[1].splitlines()
        shown = json.loads(re.search(r"```json\n(.*?)```", section, re.S)[1])
        self.assertTrue(all(line.startswith("$ ") for line in lines))
        run, create_user, create = [line[2:] for line in lines]
        self.assertEqual(run, "cargo run --example emulator &")

        # On another port, because the one of the README may be in use.
        command = shlex.split(run[:-1]) + ["--quiet", "--", "--listen", "127.0.0.1:0"]
        # Once it is built, `cargo run` replaces itself by the program.
        emulator = subprocess.Popen(
            command, cwd=README.parent, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            url = emulator.stdout.readline().split()[-1]
            # Without access keys.
            bare = {k: v for k, v in environment().items() if not k.startswith("AWS_ACCESS")}
            bare = {
                k: v
                for k, v in bare.items()
                if k not in ["AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"]
            }

            def aws(line):
                self.assertIn(ENDPOINT, line)
                line = shlex.split(line.replace(ENDPOINT, url))
                ran = subprocess.run(line, env=bare, check=True, capture_output=True, text=True)
                return json.loads(ran.stdout)

            self.assertEqual(aws(create_user)["User"]["UserName"], "anika")
            response = aws(create)
        finally:
            os.killpg(emulator.pid, signal.SIGTERM)
            emulator.wait(30)
            emulator.stdout.close()
        for shape in (response, shown):
            credential = shape["ServiceSpecificCredential"]
            check_credential(self, credential, DOCUMENTED, "anika", CODECOMMIT)
        self.assertEqual(list(response), list(shown))
        order = [list(it["ServiceSpecificCredential"]) for it in (response, shown)]
        self.assertEqual(*order)
