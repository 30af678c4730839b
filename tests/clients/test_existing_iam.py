"""Tests of `examples/existing_iam` with boto3. Callers are identified by their access keys."""

import os
import subprocess
import unittest

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from emulator import ACCOUNT, CODECOMMIT, DOCUMENTED, check_credential, environment

os.environ.update(environment())


class ExistingIam(unittest.TestCase):
    def setUp(self):
        command = [os.environ["EXISTING_IAM"], "127.0.0.1:0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        line = process.stdout.readline()
        self.assertTrue(line.startswith("listening on http://127.0.0.1:"), line)
        url = line.split()[-1]
        self.admin, self.anika = (
            boto3.client(
                "iam",
                endpoint_url=url,
                aws_access_key_id=key,
                aws_secret_access_key="fake",
                config=Config(retries={"total_max_attempts": 1}),
            )
            for key in ("AKIAADMIN", "AKIAANIKA")
        )
        self.addCleanup(self.admin.close)
        self.addCleanup(self.anika.close)

    def denied(self, operation, **parameters):
        with self.assertRaises(ClientError) as caught:
            operation(**parameters)
        self.assertEqual(caught.exception.response["Error"]["Code"], "AccessDenied")

    def test_a_user_manages_what_its_policy_allows(self):
        create = self.anika.create_service_specific_credential
        # boto3 requires a user name here, and not below.
        issued = create(UserName="anika", ServiceName=CODECOMMIT, CredentialAgeDays=90)
        credential = issued["ServiceSpecificCredential"]
        created, expires = check_credential(self, credential, DOCUMENTED, "anika", CODECOMMIT)
        self.assertEqual((expires - created).days, 90)
        for parameters in (
            {"ServiceName": CODECOMMIT},
            {"ServiceName": CODECOMMIT, "CredentialAgeDays": 91},
            {"ServiceName": "bedrock.amazonaws.com", "CredentialAgeDays": 90},
        ):
            self.denied(create, UserName="anika", **parameters)
        self.denied(create, UserName="admin", ServiceName=CODECOMMIT, CredentialAgeDays=90)

        id = credential["ServiceSpecificCredentialId"]
        (listed,) = self.anika.list_service_specific_credentials()["ServiceSpecificCredentials"]
        self.assertEqual(listed["ServiceSpecificCredentialId"], id)
        self.denied(self.anika.list_service_specific_credentials, AllUsers=True)
        one = {"ServiceSpecificCredentialId": id}
        self.anika.update_service_specific_credential(Status="Inactive", **one)
        renewed = self.anika.reset_service_specific_credential(**one)
        renewed = renewed["ServiceSpecificCredential"]
        self.assertEqual(renewed["Status"], "Inactive")
        self.assertNotEqual(renewed["ServicePassword"], credential["ServicePassword"])
        self.anika.delete_service_specific_credential(**one)
        listed = self.admin.list_service_specific_credentials(AllUsers=True)
        self.assertEqual(listed["ServiceSpecificCredentials"], [])

    def test_users_come_and_go_on_both_sides(self):
        self.denied(self.anika.delete_user, UserName="admin")
        create = self.admin.create_service_specific_credential
        with self.assertRaises(self.admin.exceptions.NoSuchEntityException):
            create(UserName="dora", ServiceName=CODECOMMIT)
        created = self.admin.create_user(UserName="dora")["User"]
        self.assertEqual(created["Arn"], f"arn:aws:iam::{ACCOUNT}:user/dora")
        issued = create(UserName="dora", ServiceName=CODECOMMIT)["ServiceSpecificCredential"]
        with self.assertRaises(self.admin.exceptions.DeleteConflictException):
            self.admin.delete_user(UserName="dora")
        id = issued["ServiceSpecificCredentialId"]
        self.admin.delete_service_specific_credential(
            UserName="dora", ServiceSpecificCredentialId=id
        )
        self.admin.delete_user(UserName="dora")
        with self.assertRaises(self.admin.exceptions.NoSuchEntityException):
            create(UserName="dora", ServiceName=CODECOMMIT)
