"""The calls of Terraform's AWS provider for `aws_iam_user` and
`aws_iam_service_specific_credential`, in its order, with boto3: a test of them that needs no
Terraform."""

import os
import unittest

from botocore.exceptions import ClientError

import model
from emulator import CODECOMMIT, Emulator, authorization, environment

os.environ.update(environment())

BEDROCK = "bedrock.amazonaws.com"
# What a deletion with `force_destroy` calls first, in this order: `test_terraform` compares it.
FORCE_DESTROY = [
    "ListUserPolicies",
    "ListAttachedUserPolicies",
    "ListAccessKeys",
    "ListSSHPublicKeys",
    "ListVirtualMFADevices",
    "ListMFADevices",
    "DeleteLoginProfile",
    "ListSigningCertificates",
]


class User:
    """The resource `aws_iam_user`: its arguments are its state."""

    def __init__(self, iam, name, path="/", tags=None, force_destroy=False, default_tags=None):
        self.iam = iam
        self.name, self.path, self.force_destroy = name, path, force_destroy
        # Tags of the resource take precedence over those of the provider.
        self.tags = (default_tags or {}) | (tags or {})
        listed = [{"Key": key, "Value": value} for key, value in self.tags.items()]
        # The provider's SDK does not send an empty list.
        listed = {"Tags": listed} if listed else {}
        created = iam.create_user(UserName=name, Path=path, **listed)["User"]
        self.id = created["UserId"]

    def read(self):
        """The name, the path and the tags, or `None` if the user is gone. Checks the id."""
        try:
            user = self.iam.get_user(UserName=self.name)["User"]
        except self.iam.exceptions.NoSuchEntityException:
            return None
        tags = {tag["Key"]: tag["Value"] for tag in user.get("Tags", [])}
        assert user["UserId"] == self.id, user
        assert user["Arn"].endswith(f":user{user['Path']}{user['UserName']}"), user
        return user["UserName"], user["Path"], tags

    def update(self, name=None, path=None, tags=None):
        if name is not None or path is not None:
            changed = {"NewUserName": name or self.name, "NewPath": path or self.path}
            self.iam.update_user(UserName=self.name, **changed)
            self.name, self.path = changed["NewUserName"], changed["NewPath"]
        if tags is not None:
            removed = [key for key in self.tags if key not in tags]
            changed = {key: value for key, value in tags.items() if self.tags.get(key) != value}
            if removed:
                self.iam.untag_user(UserName=self.name, TagKeys=removed)
            if changed:
                listed = [{"Key": key, "Value": value} for key, value in changed.items()]
                self.iam.tag_user(UserName=self.name, Tags=listed)
            self.tags = tags

    def delete(self):
        one = {"UserName": self.name}
        for group in self.iam.list_groups_for_user(**one)["Groups"]:
            self.iam.remove_user_from_group(GroupName=group["GroupName"], **one)
        if self.force_destroy:
            for operation in FORCE_DESTROY:
                # There are no login profiles, and nothing to list.
                if operation == "DeleteLoginProfile":
                    assert code(self.iam.delete_login_profile, **one) == "NoSuchEntity"
                    continue
                of = {"AssignmentStatus": "Assigned"} if "Virtual" in operation else one
                found = self.iam._make_api_call(operation, of)
                assert [it for it in found.values() if isinstance(it, list)] == [[]], found
            listed = self.iam.list_service_specific_credentials(**one)
            for credential in listed["ServiceSpecificCredentials"]:
                self.iam.delete_service_specific_credential(
                    ServiceSpecificCredentialId=credential["ServiceSpecificCredentialId"], **one
                )
        self.iam.delete_user(**one)


class Credential:
    """The resource `aws_iam_service_specific_credential`."""

    def __init__(self, iam, user, service=CODECOMMIT, status="Active"):
        self.iam, self.user, self.service = iam, user, service
        created = iam.create_service_specific_credential(UserName=user, ServiceName=service)
        self.issued = created["ServiceSpecificCredential"]
        self.id = self.issued["ServiceSpecificCredentialId"]
        if status != "Active":
            self.update(status)

    def read(self):
        """The status, or `None` if the credential is gone."""
        try:
            listed = self.iam.list_service_specific_credentials(
                UserName=self.user, ServiceName=self.service
            )
        except self.iam.exceptions.NoSuchEntityException:
            return None
        found = [
            it
            for it in listed["ServiceSpecificCredentials"]
            if it["ServiceSpecificCredentialId"] == self.id
        ]
        return found[0]["Status"] if found else None

    def update(self, status):
        self.iam.update_service_specific_credential(
            UserName=self.user, ServiceSpecificCredentialId=self.id, Status=status
        )

    def delete(self):
        one = {"UserName": self.user, "ServiceSpecificCredentialId": self.id}
        return code(self.iam.delete_service_specific_credential, **one)


def code(call, **parameters):
    """The code of the error of a call, if it fails."""
    try:
        call(**parameters)
    except ClientError as error:
        return error.response["Error"]["Code"]


class TerraformCalls(unittest.TestCase):
    def setUp(self):
        self.emulator = Emulator().start(self)
        self.iam = model.client(self, self.emulator.url)

    def assert_no_drift(self, user):
        self.assertEqual(user.read(), (user.name, user.path, user.tags))
        listed = self.iam.list_user_tags(UserName=user.name)
        self.assertEqual({it["Key"]: it["Value"] for it in listed["Tags"]}, user.tags)

    def test_create_and_read_back(self):
        default_tags = {"owner": "platform", "stage": "test"}
        user = User(
            self.iam,
            "anika",
            path="/team/blue/",
            tags={"stage": "live", "device": "laptop"},
            default_tags=default_tags,
        )
        self.assertEqual(user.tags, {"owner": "platform", "stage": "live", "device": "laptop"})
        self.assert_no_drift(user)
        self.assert_no_drift(User(self.iam, "bo"))

    def test_update_of_a_user(self):
        user = User(self.iam, "anika", tags={"a": "1", "b": "2"})
        credential = Credential(self.iam, "anika")
        for change in (
            {"name": "anne"},
            {"path": "/team/"},
            {"tags": {"b": "3", "c": ""}},
            {"name": "anika", "path": "/", "tags": {}},
        ):
            user.update(**change)
            self.assert_no_drift(user)
            # A new name replaces the credential in Terraform's plan. Until then it is kept.
            credential.user = user.name
            self.assertEqual(credential.read(), "Active")

    def test_import(self):
        user = User(self.iam, "anika", path="/team/", tags={"a": "1"})
        credential = Credential(self.iam, "anika")
        # The provider identifies a credential by service, user and id.
        imported = object.__new__(Credential)
        imported.iam = self.iam
        imported.service, imported.user, imported.id = (
            f"{CODECOMMIT}:anika:{credential.id}".split(":")
        )
        self.assertEqual(imported.read(), "Active")
        self.assert_no_drift(user)

    def test_status(self):
        User(self.iam, "anika")
        credential = Credential(self.iam, "anika", status="Inactive")
        self.assertEqual(credential.read(), "Inactive")
        self.assertEqual(self.authenticated(credential), 401)
        credential.update("Active")
        self.assertEqual(credential.read(), "Active")
        self.assertEqual(self.authenticated(credential)["id"], credential.id)

    def authenticated(self, credential):
        return self.emulator.authenticate(credential.service, authorization(credential.issued))

    def test_taint(self):
        User(self.iam, "anika")
        tainted = Credential(self.iam, "anika")
        self.assertIsNone(tainted.delete())
        replacement = Credential(self.iam, "anika")
        self.assertIsNone(tainted.read())
        self.assertNotEqual(replacement.id, tainted.id)
        self.assertEqual(
            replacement.issued["ServiceUserName"], tainted.issued["ServiceUserName"]
        )
        self.assertEqual(self.authenticated(tainted), 401)

    def test_two_credentials_at_once(self):
        User(self.iam, "anika")
        two = [Credential(self.iam, "anika") for _ in range(2)]
        self.assertEqual([it.read() for it in two], ["Active"] * 2)
        third = self.iam.create_service_specific_credential
        limit = code(third, UserName="anika", ServiceName=CODECOMMIT)
        self.assertEqual(limit, "LimitExceeded")

    def test_api_key(self):
        User(self.iam, "anika")
        key = Credential(self.iam, "anika", BEDROCK)
        self.assertEqual(key.read(), "Active")
        self.assertNotIn("ServiceUserName", key.issued)
        self.assertEqual(self.authenticated(key)["id"], key.id)

    def test_deletion_outside_of_terraform(self):
        user = User(self.iam, "anika")
        credential = Credential(self.iam, "anika")
        self.iam.delete_service_specific_credential(
            UserName="anika", ServiceSpecificCredentialId=credential.id
        )
        self.assertIsNone(credential.read())
        self.assertEqual(credential.delete(), "NoSuchEntity")
        self.iam.delete_user(UserName="anika")
        self.assertIsNone(user.read())
        self.assertIsNone(credential.read())
        self.assertEqual(code(user.delete), "NoSuchEntity")

    def test_destroy(self):
        user = User(self.iam, "anika")
        credential = Credential(self.iam, "anika")
        self.assertEqual(code(user.delete), "DeleteConflict")
        self.assert_no_drift(user)
        self.assertIsNone(credential.delete())
        user.delete()
        self.assertIsNone(user.read())

    def test_destroy_with_force_destroy(self):
        user = User(self.iam, "anika", force_destroy=True)
        Credential(self.iam, "anika")
        Credential(self.iam, "anika", BEDROCK)
        user.delete()
        self.assertIsNone(user.read())
