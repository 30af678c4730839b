"""Terraform itself with its AWS provider, if both are installed.

The folder of the provider is a filesystem mirror: `SSC_TERRAFORM_PLUGINS`, or one of Terraform's
own folders, or one in `/opt`. Without Terraform or the provider the test is skipped, and fails if
`SSC_REQUIRE_TERRAFORM=1` is set."""

import glob
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import boto3
from botocore.config import Config

from emulator import CODECOMMIT, Emulator, environment
from test_terraform_calls import FORCE_DESTROY

os.environ.update(environment())

PROVIDER = "registry.terraform.io/hashicorp/aws"
MIRRORS = [
    "~/.terraform.d/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
    "/opt/*",
]
PROVIDER_BLOCK = """
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}
provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  max_retries                 = 1
  endpoints { iam = "%s" }
  default_tags { tags = { owner = "platform", stage = "test" } }
}
"""
RESOURCES = """
resource "aws_iam_user" "one" {
  name = "%(name)s"
  path = "%(path)s"
  tags = %(tags)s
}
resource "aws_iam_service_specific_credential" "git" {
  count        = 2
  user_name    = aws_iam_user.one.name
  service_name = "codecommit.amazonaws.com"
  status       = "%(status)s"
}
resource "aws_iam_service_specific_credential" "key" {
  user_name    = aws_iam_user.one.name
  service_name = "bedrock.amazonaws.com"
}
resource "aws_iam_user" "forced" {
  name          = "forced"
  path          = "%(forced_path)s"
  tags          = %(forced_tags)s
  force_destroy = true
}
"""
IMPORT = """
import {
  to = %s
  id = "%s"
}
"""
USER, FORCED = "aws_iam_user.one", "aws_iam_user.forced"
BEDROCK, CASSANDRA = "bedrock.amazonaws.com", "cassandra.amazonaws.com"
GIT = [f"aws_iam_service_specific_credential.git[{count}]" for count in range(2)]
KEY = "aws_iam_service_specific_credential.key"


def mirror():
    """The folder of the provider."""
    named = os.environ.get("SSC_TERRAFORM_PLUGINS")
    folders = [it for mirror in MIRRORS for it in glob.glob(os.path.expanduser(mirror))]
    folders = [named] if named else folders
    return next((it for it in folders if os.path.isdir(os.path.join(it, PROVIDER))), None)


def missing():
    """What is not installed, or `None`."""
    if not shutil.which("terraform"):
        return "no terraform on the PATH"
    if not mirror():
        return "no AWS provider of Terraform: set SSC_TERRAFORM_PLUGINS"
    return None


class Terraform(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        if missing() and os.environ.get("SSC_REQUIRE_TERRAFORM") == "1":
            self.fail(missing())
        if missing():
            self.skipTest(missing())
        self.log = tempfile.TemporaryFile("w+")
        self.addCleanup(self.log.close)
        self.url = Emulator("--log", log=self.log).start(self).url
        config = Config(retries={"total_max_attempts": 1})
        self.iam = boto3.client("iam", endpoint_url=self.url, config=config)
        self.addCleanup(self.iam.close)
        self.settings = {"name": "anika", "path": "/", "tags": "{}", "status": "Active"}
        self.settings |= {"forced_path": "/", "forced_tags": "{}"}
        self.open_folder()

    def open_folder(self):
        """A new folder of Terraform, without state."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.configure()
        ran = self.terraform("init", f"-plugin-dir={mirror()}")
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)

    def configure(self, more="", **changes):
        self.settings |= changes
        with open(os.path.join(self.folder, "main.tf"), "w") as file:
            file.write(PROVIDER_BLOCK % self.url + RESOURCES % self.settings + more)

    def terraform(self, command, *options):
        line = ["terraform", command, "-no-color", "-input=false", *options]
        # Most of the time of a run is the schema of the provider, and a third of it the collection
        # of garbage.
        variables = environment() | {"CHECKPOINT_DISABLE": "1", "GOGC": "400"}
        return subprocess.run(
            line, cwd=self.folder, env=variables, capture_output=True, text=True
        )

    def change(self, expected, command="apply", options=(), error=None):
        """Runs a command, and checks that it changes exactly these resources: none has drifted."""
        ran = self.terraform(command, "-auto-approve", "-json", *options)
        messages = [json.loads(line) for line in ran.stdout.splitlines()]
        errors = [
            it["diagnostic"]["summary"] + it["diagnostic"].get("detail", "")
            for it in messages
            if it["type"] == "diagnostic" and it["@level"] == "error"
        ]
        if error is None:
            self.assertEqual((ran.returncode, errors), (0, []), ran.stderr)
        else:
            self.assertEqual((ran.returncode, len(errors)), (1, 1), errors)
            self.assertIn(error, errors[0])
        planned = {
            it["change"]["resource"]["addr"]: it["change"]["action"]
            for it in messages
            if it["type"] == "planned_change"
        }
        self.assertEqual(planned, expected)

    def actions(self):
        """The actions of all requests so far."""
        self.log.seek(0)
        return re.findall(r'action="(\w+)"', self.log.read())

    def credentials(self, name):
        listed = self.iam.list_service_specific_credentials(UserName=name)
        return listed["ServiceSpecificCredentials"]

    def test_the_life_of_a_user_and_its_credentials(self):
        credentials = [*GIT, KEY]
        self.configure(path="/team/", tags='{ stage = "live", device = "laptop" }')
        self.change(dict.fromkeys([USER, FORCED, *credentials], "create"))
        user = self.iam.get_user(UserName="anika")["User"]
        self.assertEqual(user["Path"], "/team/")
        self.assertEqual(
            {it["Key"]: it["Value"] for it in user["Tags"]},
            {"device": "laptop", "owner": "platform", "stage": "live"},
        )

        # A credential belongs to a name. No run changes the name and the tags of a user: the
        # provider tags the new name first, which is not there yet.
        self.configure(name="jane", forced_path="/forced/")
        self.change({USER: "update", FORCED: "update"} | dict.fromkeys(credentials, "replace"))

        for lost in self.credentials("jane"):
            if lost["ServiceName"] != CODECOMMIT:
                self.delete("jane", lost)
        self.configure(path="/team/blue/", tags="{}", status="Inactive")
        self.configure(forced_tags='{ device = "phone" }')
        changes = {USER: "update", FORCED: "update", GIT[0]: "replace", GIT[1]: "update"}
        self.change(changes | {KEY: "create"}, options=[f"-replace={GIT[0]}"])
        statuses = [(it["ServiceName"], it["Status"]) for it in self.credentials("jane")]
        expected = [(BEDROCK, "Active"), (CODECOMMIT, "Inactive"), (CODECOMMIT, "Inactive")]
        self.assertEqual(sorted(statuses), expected)

        # Imported into a state that knows nothing of them.
        by_service = sorted(self.credentials("jane"), key=lambda it: it["ServiceName"])
        ids = [
            f"{it['ServiceName']}:jane:{it['ServiceSpecificCredentialId']}" for it in by_service
        ]
        imports = dict(zip([KEY, *GIT], ids)) | {USER: "jane", FORCED: "forced"}
        self.open_folder()
        self.configure("".join(IMPORT % it for it in imports.items()))
        # `force_destroy` is a setting of Terraform, which no import finds.
        self.change(dict.fromkeys(imports, "import") | {FORCED: "update"})

        # A credential that Terraform does not know is deleted by `force_destroy` only.
        for name in ["jane", "forced"]:
            self.iam.create_service_specific_credential(UserName=name, ServiceName=CASSANDRA)
        deleted, before = dict.fromkeys(imports, "delete"), len(self.actions())
        self.change(deleted, command="destroy", error="DeleteConflict")
        of_force_destroy = [it for it in self.actions()[before:] if it in FORCE_DESTROY]
        self.assertEqual(of_force_destroy, FORCE_DESTROY)
        [left] = self.iam.list_users()["Users"]
        self.assertEqual(left["UserName"], "jane")
        [unknown] = self.credentials("jane")
        self.delete("jane", unknown)
        self.change({USER: "delete"}, command="destroy")
        self.assertEqual(self.iam.list_users()["Users"], [])

    def delete(self, name, credential):
        self.iam.delete_service_specific_credential(
            UserName=name,
            ServiceSpecificCredentialId=credential["ServiceSpecificCredentialId"],
        )
