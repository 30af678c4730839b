"""The AWS SDK for JavaScript: runs `sdk.cjs` with Node.js."""

import os
import pathlib
import subprocess
import unittest

from emulator import Emulator, environment

SCRIPT = pathlib.Path(__file__).with_name("sdk.cjs")


class JavaScript(unittest.TestCase):
    def test_sdk(self):
        # `run` installs the SDK there.
        settings = environment() | {"NODE_PATH": os.environ["JAVASCRIPT_SDK"]}
        with Emulator() as emulator:
            command = ["node", SCRIPT, emulator.url]
            ran = subprocess.run(command, env=settings, capture_output=True, text=True)
        self.assertEqual((ran.returncode, ran.stdout), (0, "done\n"), ran.stderr)
