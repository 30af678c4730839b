"""The cases of LocalStack's ten recorded tests of these credentials, in the recorded dialect. Each
test has the name of a case there, in `tests/aws/services/iam/test_iam.py`; the code is our own."""

import os
import unittest

from botocore.exceptions import ClientError

import model
from emulator import CODECOMMIT, RECORDED, Emulator, check_credential, environment

os.environ.update(environment())

CASSANDRA = "cassandra.amazonaws.com"
UNSUPPORTED = "No such service {} is supported for Service Specific Credentials"
PATTERN = (
    "1 validation error detected: Value at 'serviceSpecificCredentialId' failed to satisfy "
    r"constraint: Member must satisfy regular expression pattern: [\w]+"
)


class LocalStack(unittest.TestCase):
    def setUp(self):
        url = Emulator("--dialect", "recorded", "--caller", "anika").start(self).url
        self.iam = model.client(self, url)
        user = self.iam.create_user(UserName="anika")["User"]
        self.assertEqual(
            set(user), {"Arn", "CreateDate", "Path", "UserId", "UserName"}, "of a new user"
        )

    def create(self, service=CODECOMMIT):
        created = self.iam.create_service_specific_credential(
            UserName="anika", ServiceName=service
        )
        return created["ServiceSpecificCredential"]

    def list(self, service):
        listed = self.iam.list_service_specific_credentials(UserName="anika", ServiceName=service)
        self.assertIs(listed["IsTruncated"], False)
        return listed["ServiceSpecificCredentials"]

    def rejected(self, status, code, message, call, **parameters):
        with self.assertRaises(ClientError) as raised:
            call(**parameters)
        response = raised.exception.response
        expected = {"Type": "Sender", "Code": code, "Message": message}
        self.assertEqual(response["Error"], expected)
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], status)

    def rejected_for_all(self, status, code, message, **identity):
        """The operations on one credential are rejected alike."""
        iam = self.iam
        update = iam.update_service_specific_credential
        self.rejected(status, code, message, update, Status="Inactive", **identity)
        for call in (iam.reset_service_specific_credential, iam.delete_service_specific_credential):
            self.rejected(status, code, message, call, **identity)

    def lifecycle(self, service):
        created = self.create(service)
        check_credential(self, created, RECORDED, "anika", service)
        secret = created.pop("ServicePassword")
        self.assertEqual(self.list(service), [created])
        identity = {
            "UserName": "anika",
            "ServiceSpecificCredentialId": created["ServiceSpecificCredentialId"],
        }
        updated = self.iam.update_service_specific_credential(Status="Inactive", **identity)
        self.assertEqual(set(updated), {"ResponseMetadata"})
        inactive = created | {"Status": "Inactive"}
        self.assertEqual(self.list(service), [inactive])
        reset = self.iam.reset_service_specific_credential(**identity)["ServiceSpecificCredential"]
        self.assertNotEqual(reset.pop("ServicePassword"), secret)
        self.assertEqual(reset, inactive)
        deleted = self.iam.delete_service_specific_credential(**identity)
        self.assertEqual(set(deleted), {"ResponseMetadata"})
        self.assertEqual(self.list(service), [])

    def test_service_specific_credential_lifecycle_codecommit(self):
        self.lifecycle(CODECOMMIT)

    def test_service_specific_credential_lifecycle_cassandra(self):
        self.lifecycle(CASSANDRA)

    def test_create_service_specific_credential_invalid_user(self):
        for service in (CODECOMMIT, "nonexistentservice.amazonaws.com"):
            self.rejected(
                *(404, "NoSuchEntity", "The user with name non-existent-user cannot be found."),
                self.iam.create_service_specific_credential,
                UserName="non-existent-user",
                ServiceName=service,
            )

    def test_create_service_specific_credential_invalid_service(self):
        for service in (
            "nonexistentservice.amazonaws.com",
            "o3on3n3onosneo",
            "lambda.amazonaws.com",
        ):
            self.rejected(
                *(404, "NoSuchEntity", UNSUPPORTED.format(service)),
                self.iam.create_service_specific_credential,
                UserName="anika",
                ServiceName=service,
            )

    def test_list_service_specific_credential_different_service(self):
        service = "nonexistentservice.amazonaws.com"
        self.rejected(
            *(404, "NoSuchEntity", UNSUPPORTED.format(service)),
            self.iam.list_service_specific_credentials,
            UserName="anika",
            ServiceName=service,
        )
        self.create(CODECOMMIT)
        self.assertEqual(self.list(CASSANDRA), [])

    def test_delete_user_after_service_credential_created(self):
        self.create()
        message = "Cannot delete entity, must remove referenced objects first."
        self.rejected(409, "DeleteConflict", message, self.iam.delete_user, UserName="anika")

    def test_id_match_user_mismatch(self):
        id = self.create()["ServiceSpecificCredentialId"]
        message = "The user with name wrong-user-name cannot be found."
        self.rejected_for_all(
            *(404, "NoSuchEntity", message),
            UserName="wrong-user-name",
            ServiceSpecificCredentialId=id,
        )

    def test_user_match_id_mismatch_with_hyphens(self):
        self.create()
        self.rejected_for_all(
            *(400, "ValidationError", PATTERN),
            UserName="anika",
            ServiceSpecificCredentialId="totally-wrong-credential-id-with-hyphens",
        )

    def test_user_match_id_mismatch_of_the_pattern(self):
        self.create()
        id = "satisfiesregexbutstillinvalid"
        self.rejected_for_all(
            *(404, "NoSuchEntity", f"No such credential {id} exists"),
            UserName="anika",
            ServiceSpecificCredentialId=id,
        )

    def test_invalid_update_parameters(self):
        id = self.create()["ServiceSpecificCredentialId"]
        message = (
            "1 validation error detected: Value at 'status' failed to satisfy constraint: Member "
            "must satisfy enum value set"
        )
        self.rejected(
            *(400, "ValidationError", message),
            self.iam.update_service_specific_credential,
            ServiceSpecificCredentialId=id,
            Status="Invalid",
        )
