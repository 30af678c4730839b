"""The examples in the AWS CLI's documentation of the served operations: each command runs, and its
output has the documented shape. They are read from the installed `awscli`."""

import contextlib
import io
import json
import os
import pathlib
import re
import shlex
import unittest

import awscli
import boto3
from awscli.clidriver import create_clidriver
from botocore import xform_name
from botocore.config import Config

import test_service_model
from emulator import CODECOMMIT, Emulator, environment

os.environ.update(environment())

EXAMPLES = pathlib.Path(awscli.__file__).parent / "examples" / "iam"
# A command, and its output unless it has none.
EXAMPLE = re.compile(
    r"::\s*\n\n(?P<command>    aws iam (?:.*\\\n)*.*\n)\s*"
    r"(?:Output::\s*\n\n(?P<output>(?:    .*\n)+)|.*\bno output)"
)
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
PLACEHOLDER = "ACCAEXAMPLE123EXAMPLE"
# Nothing of what these list or delete is served: they find nothing.
EMPTY = {
    "list-groups-for-user",
    "list-user-policies",
    "list-attached-user-policies",
    "list-access-keys",
    "list-ssh-public-keys",
    "list-virtual-mfa-devices",
    "list-mfa-devices",
    "list-signing-certificates",
}


def examples(command):
    """The arguments and the output, if any, of each example of a command."""
    text = (EXAMPLES / f"{command}.rst").read_text()
    found = list(EXAMPLE.finditer(text))
    # None is overlooked.
    assert len(found) == text.count("    aws iam "), command
    for example in found:
        arguments = shlex.split(example["command"].replace("\\\n", " "))[1:]
        output = example["output"]
        yield arguments, json.loads(output) if output else None


class Examples(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.driver = create_clidriver()

    def aws(self, url, arguments):
        """Runs the AWS CLI, and returns its status, its parsed output and its errors."""
        output, errors = io.StringIO(), io.StringIO()
        # The pages that the CLI merges have no `IsTruncated`.
        line = [*arguments, "--endpoint-url", url, "--output", "json", "--no-paginate"]
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = self.driver.main(line)
        output = output.getvalue()
        return status, json.loads(output) if output else None, errors.getvalue()

    def prepare(self, url, arguments):
        """Creates what an example names, and returns its arguments with real ids."""
        config = Config(retries={"total_max_attempts": 1})
        iam = boto3.client("iam", endpoint_url=url, config=config)
        self.addCleanup(iam.close)
        named = "--user-name" in arguments
        user = arguments[arguments.index("--user-name") + 1] if named else "sofia"
        if arguments[1] == "create-user":
            return arguments
        tags = [{"Key": key, "Value": "1"} for key in ("Department", "DeptID")]
        tagged = {"Tags": tags} if arguments[1] == "list-user-tags" else {}
        iam.create_user(UserName=user, **tagged)
        if "service-specific" not in arguments[1] or arguments[1].startswith("create"):
            return arguments
        issued = iam.create_service_specific_credential(UserName=user, ServiceName=CODECOMMIT)
        id = issued["ServiceSpecificCredential"]["ServiceSpecificCredentialId"]
        return [id if argument == PLACEHOLDER else argument for argument in arguments]

    def assert_shape(self, actual, documented, command):
        """Whether a value has the type of the documented one, and all of its fields."""
        self.assertIs(type(actual), type(documented), command)
        if isinstance(documented, dict):
            self.assertLessEqual(set(documented), set(actual), command)
            for name, value in documented.items():
                self.assert_shape(actual[name], value, command)
        elif isinstance(documented, list):
            self.assertEqual(actual == [], command in EMPTY)
            for value in actual:
                self.assert_shape(value, documented[0], command)
        elif isinstance(documented, str) and DATE.match(documented):
            self.assertRegex(actual, DATE)

    def test_examples(self):
        operations = sorted(test_service_model.served_operations())
        for command in (xform_name(operation, "-") for operation in operations):
            for arguments, documented in examples(command):
                with self.subTest(arguments=arguments), Emulator("--caller", "sofia") as emulator:
                    prepared = self.prepare(emulator.url, arguments)
                    status, output, errors = self.aws(emulator.url, prepared)
                    if "--permissions-boundary" in arguments:
                        self.assertIn("(InvalidInput)", errors)
                    elif command == "delete-login-profile":
                        self.assertIn("(NoSuchEntity)", errors)
                    else:
                        self.assertEqual((status, errors), (0, ""))
                        self.assert_shape(output, documented, command)
