"""Every input member of every served operation has an effect or is rejected by its name, and every
output satisfies the service model."""

import os
import unittest

from botocore.exceptions import ClientError

import model
from emulator import CODECOMMIT, SERVICES, Emulator, environment

os.environ.update(environment())

BEDROCK = "bedrock.amazonaws.com"
NOBODY = {"UserName": "nobody"}
TAGS = [{"Key": "Team", "Value": "blue"}, {"Key": "device", "Value": ""}]


class ServiceModel(unittest.TestCase):
    """The test of an operation has the operation's name."""

    maxDiff = None

    def setUp(self):
        url = Emulator("--caller", "anika").start(self).url
        self.iam = model.client(self, url, parameter_validation=False)
        self.call("CreateUser", UserName="anika")
        self.call("CreateUser", UserName="bert", Path="/team/", Tags=TAGS)
        self.ids = [self.create(user) for user in ("anika", "bert")]

    def call(self, operation, **parameters):
        response = self.iam._make_api_call(operation, parameters)
        del response["ResponseMetadata"]
        return response

    def error(self, operation, **parameters):
        """The code and the message of the error of a call."""
        with self.assertRaises(ClientError) as raised:
            self.call(operation, **parameters)
        error = raised.exception.response["Error"]
        return error["Code"], error["Message"]

    def code(self, operation, **parameters):
        return self.error(operation, **parameters)[0]

    def create(self, user, **parameters):
        created = self.call(
            "CreateServiceSpecificCredential",
            **{"UserName": user, "ServiceName": CODECOMMIT} | parameters,
        )
        return created["ServiceSpecificCredential"]["ServiceSpecificCredentialId"]

    def credentials(self, **parameters):
        listed = self.call("ListServiceSpecificCredentials", **parameters)
        return listed["ServiceSpecificCredentials"]

    def user(self, name):
        return self.call("GetUser", UserName=name)["User"]

    def walk(self, operation, valid, **members):
        """Walks the members of a request. Each has an effect, a function with its result, or is
        rejected by its name: `None`."""
        shape = model.IAM.operation_model(operation).input_shape
        self.assertEqual(set(members), set(shape.members))
        for name, effect in members.items():
            path = model.camel_case(name)
            for value, path in model.invalid_values(shape.members[name], path):
                with self.subTest(member=name, value=value):
                    code, message = self.error(operation, **valid | {name: value})
                    named = [f"at '{path}'", f"value for {path} is", f"{name} is not supported"]
                    self.assertIn(code, ["ValidationError", "InvalidInput"])
                    self.assertTrue(any(text in message for text in named), message)
            with self.subTest(member=name):
                if effect is None:
                    value = "a" * shape.members[name].metadata.get("min", 1)
                    rejection = ("InvalidInput", f"{name} is not supported")
                    self.assertEqual(self.error(operation, **valid | {name: value}), rejection)
                else:
                    act, expected = effect
                    self.assertEqual(act(), expected)

    def test_served_operations(self):
        """Exactly the operations with a test are served. Every other one is rejected."""
        served = set()
        for operation in model.IAM.operation_names:
            try:
                self.call(operation)
                served.add(operation)
            except ClientError as error:
                if error.response["Error"]["Code"] != "InvalidAction":
                    served.add(operation)
        self.assertEqual(served, served_operations())

    # Credentials.

    def test_CreateServiceSpecificCredential(self):
        def created(**parameters):
            valid = {"UserName": "anika", "ServiceName": BEDROCK} | parameters
            created = self.call("CreateServiceSpecificCredential", **valid)
            return created["ServiceSpecificCredential"]

        def age():
            credential = created(CredentialAgeDays=3)
            return (credential["ExpirationDate"] - credential["CreateDate"]).days

        self.walk(
            "CreateServiceSpecificCredential",
            {"UserName": "anika", "ServiceName": CODECOMMIT},
            UserName=(lambda: created(UserName="bert")["UserName"], "bert"),
            ServiceName=(
                lambda: [created(ServiceName=it)["ServiceName"] for it in SERVICES],
                SERVICES,
            ),
            CredentialAgeDays=(age, 3),
        )

    def test_ListServiceSpecificCredentials(self):
        self.create("bert", ServiceName=BEDROCK)
        names = lambda **parameters: [it["UserName"] for it in self.credentials(**parameters)]

        def marker():
            page = self.call("ListServiceSpecificCredentials", AllUsers=True, MaxItems=2)
            return names(AllUsers=True, Marker=page["Marker"])

        self.walk(
            "ListServiceSpecificCredentials",
            {},
            UserName=(lambda: names(UserName="bert"), ["bert"] * 2),
            ServiceName=(lambda: names(UserName="bert", ServiceName=BEDROCK), ["bert"]),
            AllUsers=(lambda: names(AllUsers=True), ["anika", "bert", "bert"]),
            Marker=(marker, ["bert"]),
            MaxItems=(lambda: names(UserName="bert", MaxItems=1), ["bert"]),
        )

    def of_bert(self, operation, **parameters):
        """A call on the credential of `bert`."""
        return self.call(
            operation, UserName="bert", ServiceSpecificCredentialId=self.ids[1], **parameters
        )

    def test_UpdateServiceSpecificCredential(self):
        update = "UpdateServiceSpecificCredential"

        def status(value):
            self.of_bert(update, Status=value)
            return self.credentials(UserName="bert")[0]["Status"]

        self.walk(
            update,
            {"ServiceSpecificCredentialId": self.ids[0], "Status": "Active"},
            UserName=(lambda: status("Active"), "Active"),
            ServiceSpecificCredentialId=(
                lambda: self.code(update, ServiceSpecificCredentialId="A" * 20, Status="Active"),
                "NoSuchEntity",
            ),
            Status=(lambda: [status(it) for it in ("Inactive", "Active")], ["Inactive", "Active"]),
        )

    def test_ResetServiceSpecificCredential(self):
        reset = "ResetServiceSpecificCredential"
        self.walk(
            reset,
            {"ServiceSpecificCredentialId": self.ids[0]},
            UserName=(lambda: self.of_bert(reset)["ServiceSpecificCredential"]["UserName"], "bert"),
            ServiceSpecificCredentialId=(
                lambda: self.code(reset, ServiceSpecificCredentialId=self.ids[1]),
                "NoSuchEntity",
            ),
        )

    def test_DeleteServiceSpecificCredential(self):
        delete = "DeleteServiceSpecificCredential"
        self.walk(
            delete,
            {"ServiceSpecificCredentialId": self.ids[0]},
            ServiceSpecificCredentialId=(
                lambda: self.code(delete, ServiceSpecificCredentialId=self.ids[1]),
                "NoSuchEntity",
            ),
            UserName=(lambda: (self.of_bert(delete), self.credentials(UserName="bert")), ({}, [])),
        )

    # Users.

    def test_CreateUser(self):
        def created(field, name, **parameters):
            created = self.call("CreateUser", UserName=name, **parameters)["User"]
            self.assertEqual(created, self.user(name))
            return created[field]

        self.walk(
            "CreateUser",
            {"UserName": "dora"},
            Path=(lambda: created("Path", "path", Path="/a/b/"), "/a/b/"),
            UserName=(lambda: created("UserName", "Name"), "Name"),
            PermissionsBoundary=None,
            Tags=(lambda: created("Tags", "tags", Tags=TAGS[::-1]), TAGS[::-1]),
        )
        empty = ("InvalidInput", "Tags must not be empty")
        self.assertEqual(self.error("CreateUser", UserName="dora", Tags=[]), empty)
        self.assertEqual(self.code("GetUser", UserName="dora"), "NoSuchEntity")

    def test_GetUser(self):
        self.walk("GetUser", {}, UserName=(lambda: self.user("bert")["UserName"], "bert"))

    def test_UpdateUser(self):
        def updated(name, **parameters):
            self.assertEqual(self.call("UpdateUser", UserName="anika", **parameters), {})
            return self.user(name)["Arn"].split(":user")[1]

        self.walk(
            "UpdateUser",
            {"UserName": "anika"},
            UserName=(lambda: self.code("UpdateUser", **NOBODY), "NoSuchEntity"),
            NewPath=(lambda: updated("anika", NewPath="/b/"), "/b/anika"),
            NewUserName=(lambda: updated("anne", NewUserName="anne"), "/b/anne"),
        )

    def test_DeleteUser(self):
        self.call("CreateUser", UserName="dora")
        delete = lambda: (self.call("DeleteUser", UserName="dora"), self.code("GetUser", **dora))
        dora = {"UserName": "dora"}
        self.walk("DeleteUser", dora, UserName=(delete, ({}, "NoSuchEntity")))

    def test_ListUsers(self):
        names = lambda **parameters: [
            it["UserName"] for it in self.call("ListUsers", **parameters)["Users"]
        ]
        page = self.call("ListUsers", MaxItems=1)
        self.walk(
            "ListUsers",
            {},
            PathPrefix=(lambda: names(PathPrefix="/te"), ["bert"]),
            Marker=(lambda: names(Marker=page["Marker"]), ["bert"]),
            MaxItems=(lambda: names(MaxItems=1), ["anika"]),
        )

    def test_TagUser(self):
        def tags(user):
            self.call("TagUser", UserName=user, Tags=TAGS)
            return self.call("ListUserTags", UserName=user)["Tags"]

        self.walk(
            "TagUser",
            {"UserName": "anika", "Tags": TAGS},
            UserName=(lambda: self.code("TagUser", Tags=TAGS, **NOBODY), "NoSuchEntity"),
            Tags=(lambda: tags("anika"), TAGS[::-1]),
        )

    def test_UntagUser(self):
        untag = lambda: self.call("UntagUser", UserName="bert", TagKeys=["team", "none"])
        self.walk(
            "UntagUser",
            {"UserName": "bert", "TagKeys": ["none"]},
            UserName=(lambda: self.code("UntagUser", TagKeys=["a"], **NOBODY), "NoSuchEntity"),
            TagKeys=(lambda: (untag(), self.user("bert")["Tags"]), ({}, TAGS[1:])),
        )

    def test_ListUserTags(self):
        tags = lambda **parameters: self.call("ListUserTags", UserName="bert", **parameters)["Tags"]
        page = self.call("ListUserTags", UserName="bert", MaxItems=1)
        self.walk(
            "ListUserTags",
            {"UserName": "bert"},
            UserName=(lambda: self.call("ListUserTags", UserName="anika")["Tags"], []),
            Marker=(lambda: tags(Marker=page["Marker"]), TAGS[:1]),
            MaxItems=(lambda: tags(MaxItems=1), TAGS[1:]),
        )

    # Calls before the deletion of a user.

    def empty(self, operation, items, **members):
        """An operation that lists nothing: what its parameters select is not there."""
        of = {"UserName": "bert"} if "UserName" in members else {}
        selected = lambda **parameters: self.call(operation, **of | parameters)
        nothing = {items: [], "IsTruncated": False}
        effects = {name: (lambda it=it: selected(**it), nothing) for name, it in members.items()}
        if of:
            effects["UserName"] = (lambda: self.code(operation, **NOBODY), "NoSuchEntity")
        marker = lambda: self.error(operation, Marker="of no page", **of)
        effects["Marker"] = (marker, ("ValidationError", "Invalid Marker."))
        effects["MaxItems"] = (lambda: selected(MaxItems=1), nothing)
        self.walk(operation, of, **effects)

    def test_ListGroupsForUser(self):
        self.empty("ListGroupsForUser", "Groups", UserName={})

    def test_ListUserPolicies(self):
        self.empty("ListUserPolicies", "PolicyNames", UserName={})

    def test_ListAttachedUserPolicies(self):
        prefix = {"PathPrefix": "/a.b,c+d@e=f_g-h/"}
        self.empty("ListAttachedUserPolicies", "AttachedPolicies", UserName={}, PathPrefix=prefix)

    def test_ListAccessKeys(self):
        self.empty("ListAccessKeys", "AccessKeyMetadata", UserName={})

    def test_ListSSHPublicKeys(self):
        self.empty("ListSSHPublicKeys", "SSHPublicKeys", UserName={})

    def test_ListVirtualMFADevices(self):
        assigned = {"AssignmentStatus": "Assigned"}
        self.empty("ListVirtualMFADevices", "VirtualMFADevices", AssignmentStatus=assigned)

    def test_ListMFADevices(self):
        self.empty("ListMFADevices", "MFADevices", UserName={})

    def test_ListSigningCertificates(self):
        self.empty("ListSigningCertificates", "Certificates", UserName={})

    def test_DeleteLoginProfile(self):
        delete = lambda: self.error("DeleteLoginProfile", UserName="bert")
        message = "Login Profile for User bert cannot be found."
        self.walk("DeleteLoginProfile", {}, UserName=(delete, ("NoSuchEntity", message)))


def served_operations():
    """The operations with a test: `test_served_operations` compares them with the emulator."""
    tests = {name.removeprefix("test_") for name in dir(ServiceModel)}
    return tests & set(model.IAM.operation_names)
