"""Tests of the emulator with the AWS CLI: its output, field by field."""

import json
import re
import subprocess
import unittest

from emulator import (
    ACCOUNT,
    API_KEY_SERVICES,
    CODECOMMIT,
    DOCUMENTED,
    RECORDED,
    SERVICES,
    Emulator,
    authorization,
    check_credential,
    environment,
)

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
NOBODY = "ACCAAAAAAAAAAAAAAAAAA"


class Cases:
    """Tests in both dialects."""

    dialect = None
    maxDiff = None

    def setUp(self):
        emulator = Emulator("--dialect", self.dialect.name, "--caller", "anika")
        self.emulator = emulator.start(self)

    def run_cli(self, operation, *arguments):
        command = ["aws", "iam", operation, "--endpoint-url", self.emulator.url, *arguments]
        command += ["--output", "json"]
        return subprocess.run(command, env=environment(), capture_output=True, text=True)

    def aws(self, operation, *arguments):
        """Runs a command, and returns its parsed output, if any."""
        ran = self.run_cli(operation, *arguments)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        return json.loads(ran.stdout) if ran.stdout else None

    def rejected(self, code, action, message, operation, *arguments):
        ran = self.run_cli(operation, *arguments)
        self.assertEqual((ran.returncode, ran.stdout), (255, ""))
        expected = f"An error occurred ({code}) when calling the {action} operation: {message}"
        self.assertEqual(ran.stderr.strip(), expected)

    def check(self, credential, *arguments, expires=False, **more):
        dates = check_credential(self, credential, self.dialect, *arguments, **more)
        created, expiration = dates
        self.assertRegex(created, DATE)
        if expires:
            self.assertRegex(expiration, DATE)
            self.assertGreater(expiration, created)
        else:
            self.assertIsNone(expiration)

    def create(self, service, *arguments):
        names = ["--user-name", "anika", "--service-name", service]
        response = self.aws("create-service-specific-credential", *names, *arguments)
        self.assertEqual(list(response), ["ServiceSpecificCredential"])
        return response["ServiceSpecificCredential"]

    def test_users(self):
        created = self.aws("create-user", "--user-name", "Anika")
        user = created["User"]
        self.assertRegex(user["CreateDate"], DATE)
        expected = {
            "Path": "/",
            "UserName": "Anika",
            "UserId": user["UserId"],
            "Arn": f"arn:aws:iam::{ACCOUNT}:user/Anika",
            "CreateDate": user["CreateDate"],
        }
        self.assertEqual(created, {"User": expected})
        self.assertEqual(self.aws("get-user", "--user-name", "anika"), created)
        self.assertIsNone(
            self.aws("update-user", "--user-name", "anika", "--new-user-name", "jane")
        )
        expected |= {"UserName": "jane", "Arn": f"arn:aws:iam::{ACCOUNT}:user/jane"}
        self.assertEqual(self.aws("list-users"), {"Users": [expected]})
        self.assertIsNone(self.aws("delete-user", "--user-name", "jane"))
        message = "The user with name jane cannot be found."
        self.rejected("NoSuchEntity", "GetUser", message, "get-user", "--user-name", "jane")

    def test_the_life_of_a_credential(self):
        self.aws("create-user", "--user-name", "anika")
        issued = self.create(CODECOMMIT)
        self.check(issued, "anika", CODECOMMIT)
        second = self.create(CODECOMMIT, "--credential-age-days", "30")
        self.check(second, "anika", CODECOMMIT, place=1, expires=True)
        quota = "Cannot exceed quota for ContextSpecificCredentialsPerUserPerContext: 2"
        self.rejected(
            *("LimitExceeded", "CreateServiceSpecificCredential", quota),
            *("create-service-specific-credential", "--user-name", "anika"),
            *("--service-name", CODECOMMIT),
        )

        # Without a user name, the request is about the caller.
        listed = self.aws("list-service-specific-credentials")
        self.assertEqual(list(listed), ["ServiceSpecificCredentials", "IsTruncated"])
        self.assertIs(listed["IsTruncated"], False)
        first = listed["ServiceSpecificCredentials"][0]
        self.check(first, "anika", CODECOMMIT, secret=False)

        identity = ["--service-specific-credential-id", issued["ServiceSpecificCredentialId"]]
        update = ["update-service-specific-credential", "--user-name", "anika", *identity]
        self.assertIsNone(self.aws(*update, "--status", "Inactive"))
        self.assertEqual(self.emulator.authenticate(CODECOMMIT, authorization(issued)), 401)
        renewed = self.aws("reset-service-specific-credential", "--user-name", "anika", *identity)
        self.assertEqual(list(renewed), ["ServiceSpecificCredential"])
        renewed = renewed["ServiceSpecificCredential"]
        self.check(renewed, "anika", CODECOMMIT, status="Inactive")
        self.assertNotEqual(renewed["ServicePassword"], issued["ServicePassword"])
        self.assertIsNone(self.aws(*update, "--status", "Active"))
        known = self.emulator.authenticate(CODECOMMIT, authorization(renewed))
        self.assertEqual(known["id"], issued["ServiceSpecificCredentialId"])

        expired = "Operation does not support status Expired"
        self.rejected(
            *("InvalidInput", "UpdateServiceSpecificCredential", expired),
            *update,
            *("--status", "Expired"),
        )
        conflict = "Cannot delete entity, must remove referenced objects first."
        self.rejected(
            "DeleteConflict", "DeleteUser", conflict, "delete-user", "--user-name", "anika"
        )

        delete = ["delete-service-specific-credential", "--user-name", "anika"]
        self.assertIsNone(self.aws(*delete, *identity))
        [left] = self.aws("list-service-specific-credentials", "--all-users")[
            "ServiceSpecificCredentials"
        ]
        second.pop("ServicePassword")
        self.assertEqual(left, second)
        gone = ["--service-specific-credential-id", NOBODY]
        self.rejected(
            "NoSuchEntity",
            "DeleteServiceSpecificCredential",
            f"No such credential {NOBODY} exists",
            *delete,
            *gone,
        )

    def test_every_service_and_pages(self):
        self.aws("create-user", "--user-name", "anika")
        issued = {}
        for service in SERVICES:
            credential = self.create(service)
            self.check(credential, "anika", service)
            known = self.emulator.authenticate(service, authorization(credential))
            self.assertEqual(known["id"], credential["ServiceSpecificCredentialId"])
            self.assertEqual(
                known["kind"], "api-key" if service in API_KEY_SERVICES else "password"
            )
            issued[credential["ServiceSpecificCredentialId"]] = service
        seen, marker = {}, []
        while marker is not None:
            page = self.aws("list-service-specific-credentials", "--max-items", "4", *marker)
            for credential in page["ServiceSpecificCredentials"]:
                service = credential["ServiceName"]
                self.check(credential, "anika", service, secret=False)
                seen[credential["ServiceSpecificCredentialId"]] = service
            self.assertIs(page["IsTruncated"], "Marker" in page)
            marker = ["--marker", page["Marker"]] if "Marker" in page else None
        self.assertEqual(seen, issued)
        [only] = self.aws(
            "list-service-specific-credentials", "--service-name", "logs.amazonaws.com"
        )["ServiceSpecificCredentials"]
        self.check(only, "anika", "logs.amazonaws.com", secret=False)
        _, code, _ = self.dialect.unsupported
        service = "nothing.amazonaws.com"
        self.rejected(
            *(code, "CreateServiceSpecificCredential"),
            f"No such service {service} is supported for Service Specific Credentials",
            *("create-service-specific-credential", "--user-name", "anika"),
            *("--service-name", service),
        )


class Documented(Cases, unittest.TestCase):
    dialect = DOCUMENTED


class Recorded(Cases, unittest.TestCase):
    dialect = RECORDED
