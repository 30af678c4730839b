"""Tests of the emulator with boto3: parsed responses, field by field, and exceptions."""

import datetime
import os
import shutil
import tempfile
import unittest

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import model
from emulator import (
    ACCOUNT,
    API_KEY_SERVICES,
    CODECOMMIT,
    DOCUMENTED,
    PASSWORD_SERVICES,
    RECORDED,
    SERVICES,
    UUID,
    Emulator,
    authorization,
    basic,
    check_credential,
    environment,
)

os.environ.update(environment())

NOBODY = "ACCAAAAAAAAAAAAAAAAAA"
QUOTA = "Cannot exceed quota for ContextSpecificCredentialsPerUserPerContext: 2"
REFERRED = "Cannot delete entity, must remove referenced objects first."
ALL_AND_ONE = "Cannot list credentials for all users if a username is given"
NAMELESS = "Must specify userName when calling with non-User credentials"
UNSUPPORTED = "No such service {} is supported for Service Specific Credentials"
CHARACTERS = (
    "The specified value for userName is invalid. It must contain only alphanumeric characters "
    "and/or the following: +=,.@_-"
)


def constraints(*violations):
    """The message of the API for violated constraints of parameters."""
    plural = "" if len(violations) == 1 else "s"
    worded = [
        f"Value at '{name}' failed to satisfy constraint: Member must {constraint}"
        for name, constraint in violations
    ]
    return f"{len(worded)} validation error{plural} detected: {'; '.join(worded)}"


class Cases:
    """Tests in both dialects."""

    dialect = None
    options = ()
    maxDiff = None

    def setUp(self):
        emulator = Emulator("--dialect", self.dialect.name, *self.options)
        self.emulator = emulator.start(self)
        self.iam = self.client()

    def client(self, **config):
        config = Config(retries={"max_attempts": 0}, **config)
        client = boto3.client("iam", endpoint_url=self.emulator.url, config=config)
        client.meta.events.register("before-parse.iam.*", self.heard)
        model.validate_responses(self, client)
        self.addCleanup(client.close)
        return client

    def heard(self, response_dict, **_):
        """Records the raw response."""
        self.raw = response_dict

    def done(self, response):
        """Checks the metadata of a response, and returns the rest."""
        metadata = response.pop("ResponseMetadata")
        self.assertEqual(metadata["HTTPStatusCode"], 200)
        self.check_headers(metadata)
        return response

    def check_headers(self, metadata):
        headers = metadata["HTTPHeaders"]
        self.assertRegex(metadata["RequestId"], UUID)
        self.assertEqual(headers["x-amzn-requestid"], metadata["RequestId"])
        self.assertEqual(headers["content-type"], "text/xml")

    def users(self, *names):
        for name in names:
            self.done(self.iam.create_user(UserName=name))

    def create(self, user="anika", service=CODECOMMIT, **more):
        response = self.iam.create_service_specific_credential(
            UserName=user, ServiceName=service, **more
        )
        response = self.done(response)
        self.assertEqual(list(response), ["ServiceSpecificCredential"])
        return response["ServiceSpecificCredential"]

    def list(self, **parameters):
        """The items of a listing that is not truncated."""
        response = self.done(self.iam.list_service_specific_credentials(**parameters))
        self.assertIs(response.pop("IsTruncated"), False)
        self.assertEqual(list(response), ["ServiceSpecificCredentials"])
        return response["ServiceSpecificCredentials"]

    def check_date(self, date, element="CreateDate"):
        self.assertIs(type(date), datetime.datetime)
        self.assertEqual(date.utcoffset(), datetime.timedelta(0))
        text = date.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        self.assertEqual(date.microsecond % 1000, 0)
        self.assertIn(f"<{element}>{text}</{element}>", self.raw["body"].decode())

    def check(self, credential, user="anika", service=CODECOMMIT, expires=None, **more):
        dates = check_credential(self, credential, self.dialect, user, service, **more)
        created, expiration = dates
        self.check_date(created)
        if expires is None:
            self.assertIsNone(expiration)
        else:
            self.check_date(expiration, "ExpirationDate")
            self.assertEqual(expiration - created, datetime.timedelta(days=expires))
        return created

    def rejected(self, status, code, exception, message, call, **parameters):
        """Checks that a call fails with this error, and the client with this exception."""
        known = (
            ClientError if exception == "ClientError" else getattr(self.iam.exceptions, exception)
        )
        with self.assertRaises(ClientError) as raised:
            call(**parameters)
        error = raised.exception
        self.assertEqual(type(error).__name__, exception)
        # Every client has its own exception classes.
        self.assertEqual(known.__name__, exception)
        self.assertEqual(
            error.response["Error"], {"Type": "Sender", "Code": code, "Message": message}
        )
        self.assertEqual(error.response["ResponseMetadata"]["HTTPStatusCode"], status)
        self.check_headers(error.response["ResponseMetadata"])

    def invalid(self, message, call, **parameters):
        self.rejected(400, "ValidationError", "ClientError", message, call, **parameters)

    def malformed(self, message, call, **parameters):
        self.rejected(400, "MalformedInput", "ClientError", message, call, **parameters)

    def missing(self, message, call, **parameters):
        self.rejected(404, "NoSuchEntity", "NoSuchEntityException", message, call, **parameters)

    def missing_user(self, call, **parameters):
        message = f"The user with name {parameters['UserName']} cannot be found."
        self.missing(message, call, **parameters)

    def sending(self, client, **changes):
        """A call whose form is changed before it is sent. `None` removes a parameter."""

        def change(params, **_):
            params["body"].update(changes)
            params["body"] = {k: v for k, v in params["body"].items() if v is not None}

        def call(**parameters):
            client.meta.events.register("before-call.iam.*", change)
            try:
                return client.list_service_specific_credentials(**parameters)
            finally:
                client.meta.events.unregister("before-call.iam.*", change)

        return call

    # Successful responses.

    def test_create_at_every_service(self):
        self.users("anika")
        for service in SERVICES:
            before = datetime.datetime.now(datetime.timezone.utc)
            first, second = self.create(service=service), self.create(service=service)
            created = self.check(second, service=service, place=1)
            self.assertLess(abs(created - before), datetime.timedelta(minutes=1))
            check_credential(self, first, self.dialect, "anika", service)
            self.assertNotEqual(
                first["ServiceSpecificCredentialId"], second["ServiceSpecificCredentialId"]
            )
            for issued in [first, second]:
                known = self.emulator.authenticate(service, authorization(issued))
                self.assertEqual(known["id"], issued["ServiceSpecificCredentialId"])
                other = PASSWORD_SERVICES[service == CODECOMMIT]
                self.assertEqual(self.emulator.authenticate(other, authorization(issued)), 401)
        self.assertEqual(len(self.list(UserName="anika")), 2 * len(SERVICES))

    def test_names_are_as_registered_and_services_in_lower_case(self):
        self.users("anika")
        self.check(self.create("ANIKA", "CodeCommit.AmazonAWS.com"))

    def test_expiry(self):
        self.users("anika")
        for place, days in enumerate([1, 36600]):
            issued = self.create(CredentialAgeDays=days)
            self.check(issued, expires=days, place=place)
            renewed = self.done(
                self.iam.reset_service_specific_credential(
                    ServiceSpecificCredentialId=issued["ServiceSpecificCredentialId"],
                    UserName="anika",
                )
            )["ServiceSpecificCredential"]
            self.check(renewed, expires=days, place=place)
            self.assertEqual(renewed["ExpirationDate"], issued["ExpirationDate"])
        for place, listed in enumerate(self.list(UserName="anika")):
            self.assertIn("ExpirationDate", listed)
        key = self.create(service="bedrock.amazonaws.com", CredentialAgeDays=30)
        self.check(key, service="bedrock.amazonaws.com", expires=30)

    def test_list(self):
        self.users("anika", "bert")
        self.assertEqual(self.list(UserName="anika"), [])
        issued = {}
        for service in SERVICES:
            created = self.create(service=service)
            issued[created["ServiceSpecificCredentialId"]] = created
        listed = self.list(UserName="anika")
        self.assertEqual(len(listed), len(SERVICES))
        order = [(it["CreateDate"], it["ServiceSpecificCredentialId"]) for it in listed]
        self.assertEqual(order, sorted(order))
        for credential in listed:
            self.check(credential, service=credential["ServiceName"], secret=False)
            made = issued.pop(credential["ServiceSpecificCredentialId"])
            made.pop("ServicePassword", made.pop("ServiceCredentialSecret", None))
            self.assertEqual(credential, made)
        for service in SERVICES:
            [only] = self.list(UserName="Anika", ServiceName=service.upper())
            self.assertEqual(only["ServiceName"], service)
        self.assertEqual(self.list(UserName="anika", ServiceName=""), listed)
        self.assertEqual(self.list(UserName="anika", AllUsers=False), listed)
        self.assertEqual(self.list(UserName="bert"), [])

    def test_update(self):
        self.users("anika")
        for service in ["cassandra.amazonaws.com", "logs.amazonaws.com"]:
            issued = self.create(service=service)
            identity = issued["ServiceSpecificCredentialId"]
            for status in ["Inactive", "Inactive", "Active", "Active"]:
                response = self.iam.update_service_specific_credential(
                    UserName="anika", ServiceSpecificCredentialId=identity, Status=status
                )
                self.assertEqual(self.done(response), {})
                [listed] = self.list(UserName="anika", ServiceName=service)
                self.check(listed, service=service, status=status, secret=False)
                response = self.emulator.authenticate(service, authorization(issued))
                self.assertEqual(response == 401, status == "Inactive")

    def test_reset(self):
        self.users("anika")
        for service in SERVICES:
            old = self.create(service=service)
            names = {
                "UserName": "anika",
                "ServiceSpecificCredentialId": old["ServiceSpecificCredentialId"],
            }
            new = self.done(self.iam.reset_service_specific_credential(**names))
            self.assertEqual(list(new), ["ServiceSpecificCredential"])
            new = new["ServiceSpecificCredential"]
            self.check(new, service=service)
            secret = "ServiceCredentialSecret" if service in API_KEY_SERVICES else "ServicePassword"
            self.assertNotEqual(old.pop(secret), new[secret])
            self.assertEqual(old, {name: new[name] for name in new if name != secret})
            old[secret] = "no longer"
            self.assertEqual(self.emulator.authenticate(service, authorization(old)), 401)
            known = self.emulator.authenticate(service, authorization(new))
            self.assertEqual(known["id"], new["ServiceSpecificCredentialId"])
            # An inactive credential stays inactive.
            self.iam.update_service_specific_credential(**names, Status="Inactive")
            again = self.done(self.iam.reset_service_specific_credential(**names))
            self.check(again["ServiceSpecificCredential"], service=service, status="Inactive")

    def test_delete(self):
        self.users("anika")
        for service in SERVICES:
            issued = self.create(service=service)
            response = self.iam.delete_service_specific_credential(
                UserName="anika",
                ServiceSpecificCredentialId=issued["ServiceSpecificCredentialId"],
            )
            self.assertEqual(self.done(response), {})
            self.assertEqual(self.list(UserName="anika"), [])
            self.assertEqual(self.emulator.authenticate(service, authorization(issued)), 401)
            # The name is reused.
            self.check(self.create(service=service), service=service)
            [left] = self.list(UserName="anika")
            self.iam.delete_service_specific_credential(
                UserName="anika", ServiceSpecificCredentialId=left["ServiceSpecificCredentialId"]
            )

    def test_pages(self):
        self.users("anika")
        ids = []
        for service in SERVICES:
            ids += [self.create(service=service)["ServiceSpecificCredentialId"] for _ in range(2)]
        # Some clients continue until there is no marker, and ignore `IsTruncated`.
        for size, subject in [
            (1, {"UserName": "anika"}),
            (5, {"AllUsers": True}),
            (12, {"AllUsers": True}),
        ]:
            seen, more = [], {"MaxItems": size}
            while more:
                page = self.done(self.iam.list_service_specific_credentials(**subject, **more))
                self.assertLessEqual(len(page["ServiceSpecificCredentials"]), size)
                self.assertTrue(page["ServiceSpecificCredentials"])
                seen += [
                    it["ServiceSpecificCredentialId"] for it in page["ServiceSpecificCredentials"]
                ]
                self.assertIs(page["IsTruncated"], "Marker" in page)
                if "Marker" in page:
                    self.assertIs(type(page["Marker"]), str)
                more = {"Marker": page["Marker"], "MaxItems": size} if "Marker" in page else None
            self.assertEqual(len(seen), len(ids))
            self.assertEqual(set(seen), set(ids))
        whole = self.list(UserName="anika")
        self.assertEqual(sorted(it["ServiceSpecificCredentialId"] for it in whole), sorted(ids))

    def test_all_users(self):
        self.users("Bert", "anika", "carla")
        self.create("Bert")
        self.create("anika", "logs.amazonaws.com")
        self.create("anika")
        of = lambda **more: [it["UserName"] for it in self.list(AllUsers=True, **more)]
        self.assertEqual(of(), ["anika", "anika", "Bert"])
        self.assertEqual(of(ServiceName=CODECOMMIT), ["anika", "Bert"])
        self.assertEqual(of(ServiceName="bedrock.amazonaws.com"), [])

    def test_users(self):
        before = datetime.datetime.now(datetime.timezone.utc)
        response = self.done(self.iam.create_user(UserName="anika"))
        self.assertEqual(list(response), ["User"])
        user = dict(response["User"])
        self.check_date(user["CreateDate"])
        self.assertLess(abs(user["CreateDate"] - before), datetime.timedelta(minutes=1))
        self.assertGreaterEqual(len(user["UserId"]), 16)
        expected = {
            "Path": "/",
            "UserName": "anika",
            "UserId": user["UserId"],
            "Arn": f"arn:aws:iam::{ACCOUNT}:user/anika",
            "CreateDate": user["CreateDate"],
        }
        self.assertEqual(user, expected)
        self.assertEqual(self.done(self.iam.get_user(UserName="ANIKA")), {"User": user})

        self.create()
        response = self.iam.update_user(UserName="anika", NewUserName="jane")
        self.assertEqual(self.done(response), {})
        expected |= {"UserName": "jane", "Arn": f"arn:aws:iam::{ACCOUNT}:user/jane"}
        self.assertEqual(self.done(self.iam.get_user(UserName="jane")), {"User": expected})
        self.missing_user(self.iam.get_user, UserName="anika")
        [kept] = self.list(UserName="jane")
        self.assertEqual(kept["UserName"], "jane")
        self.assertEqual(kept["ServiceUserName"], self.dialect.service_user_name("anika", 0))

        self.users("anika", "bert")
        listed = self.done(self.iam.list_users())
        self.assertIs(listed["IsTruncated"], False)
        self.assertNotIn("Marker", listed)
        self.assertEqual([user["UserName"] for user in listed["Users"]], ["anika", "bert", "jane"])
        self.assertEqual(listed["Users"][2], expected)
        pages = list(
            self.iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 2})
        )
        self.assertEqual([len(page["Users"]) for page in pages], [2, 1])
        self.assertEqual(sum((page["Users"] for page in pages), []), listed["Users"])

        self.assertEqual(self.done(self.iam.delete_user(UserName="bert")), {})
        self.missing_user(self.iam.get_user, UserName="bert")

    # Errors.

    def test_unknown_user(self):
        iam = self.iam
        identity = {"UserName": "Nobody", "ServiceSpecificCredentialId": NOBODY}
        for call, parameters in [
            (iam.create_service_specific_credential, {"ServiceName": CODECOMMIT}),
            # The user is reported first.
            (iam.create_service_specific_credential, {"ServiceName": "nothing.amazonaws.com"}),
            (iam.list_service_specific_credentials, {}),
            (iam.update_service_specific_credential, identity | {"Status": "Active"}),
            (iam.reset_service_specific_credential, identity),
            (iam.delete_service_specific_credential, identity),
            (iam.get_user, {}),
            (iam.update_user, {"NewUserName": "jane"}),
            (iam.delete_user, {}),
        ]:
            self.missing_user(call, **parameters | {"UserName": "Nobody"})

    def test_unsupported_service(self):
        self.users("anika")
        for service in ["nothing.amazonaws.com", "S3.amazonaws.com"]:
            message = UNSUPPORTED.format(service)
            for call in [
                self.iam.create_service_specific_credential,
                self.iam.list_service_specific_credentials,
            ]:
                parameters = {"UserName": "anika", "ServiceName": service}
                self.rejected(*self.dialect.unsupported, message, call, **parameters)

    def test_limit(self):
        self.users("anika")
        for service in SERVICES:
            self.create(service=service)
            self.create(service=service)
            self.rejected(
                409,
                "LimitExceeded",
                "LimitExceededException",
                QUOTA,
                self.iam.create_service_specific_credential,
                UserName="anika",
                ServiceName=service,
            )

    def test_unknown_credential(self):
        self.users("anika")
        names = {"UserName": "anika", "ServiceSpecificCredentialId": NOBODY}
        message = f"No such credential {NOBODY} exists"
        self.missing(message, self.iam.update_service_specific_credential, **names, Status="Active")
        self.missing(message, self.iam.reset_service_specific_credential, **names)
        self.missing(message, self.iam.delete_service_specific_credential, **names)

    def test_credential_of_another_user(self):
        self.users("anika", "bert")
        identity = self.create("bert")["ServiceSpecificCredentialId"]
        names = {"UserName": "anika", "ServiceSpecificCredentialId": identity}
        message = f"User anika does not have a service specific credential with id {identity}"
        rejection = (*self.dialect.others, message)
        self.rejected(
            *rejection, self.iam.update_service_specific_credential, **names, Status="Active"
        )
        self.rejected(*rejection, self.iam.reset_service_specific_credential, **names)
        self.rejected(*rejection, self.iam.delete_service_specific_credential, **names)
        self.assertEqual(len(self.list(UserName="bert")), 1)

    def test_invalid_input(self):
        self.users("anika")
        identity = self.create()["ServiceSpecificCredentialId"]
        rejection = (400, "InvalidInput", "InvalidInputException")
        self.rejected(
            *rejection,
            "Operation does not support status Expired",
            self.iam.update_service_specific_credential,
            UserName="anika",
            ServiceSpecificCredentialId=identity,
            Status="Expired",
        )
        self.rejected(
            *rejection,
            ALL_AND_ONE,
            self.iam.list_service_specific_credentials,
            UserName="anika",
            AllUsers=True,
        )

    def test_rejections_of_users(self):
        self.users("anika", "bert")
        self.create()
        rejection = (409, "DeleteConflict", "DeleteConflictException", REFERRED)
        self.rejected(*rejection, self.iam.delete_user, UserName="anika")
        exists = (409, "EntityAlreadyExists", "EntityAlreadyExistsException")
        message = "User with name {} already exists."
        self.rejected(*exists, message.format("Anika"), self.iam.create_user, UserName="Anika")
        self.rejected(
            *exists,
            message.format("BERT"),
            self.iam.update_user,
            UserName="anika",
            NewUserName="BERT",
        )
        # The user's own name, in another spelling.
        self.done(self.iam.update_user(UserName="anika", NewUserName="ANIKA"))

    def test_no_user_name(self):
        identity = {"ServiceSpecificCredentialId": NOBODY}
        iam = self.client(parameter_validation=False)
        for call, parameters in [
            (iam.create_service_specific_credential, {"ServiceName": CODECOMMIT}),
            (iam.list_service_specific_credentials, {}),
            (iam.update_service_specific_credential, identity | {"Status": "Active"}),
            (iam.reset_service_specific_credential, identity),
            (iam.delete_service_specific_credential, identity),
            (iam.get_user, {}),
        ]:
            self.invalid(NAMELESS, call, **parameters)

    def test_one_violation(self):
        iam = self.client(parameter_validation=False)
        create = iam.create_service_specific_credential
        ok = {"UserName": "anika", "ServiceName": CODECOMMIT}
        longest, shortest = (
            "have length less than or equal to",
            "have length greater than or equal to",
        )
        for changes, message in [
            ({"UserName": "é"}, CHARACTERS),
            ({"UserName": "a b"}, CHARACTERS),
            ({"ServiceName": "a b"}, "ServiceName must match [a-zA-Z0-9.-]*"),
            ({"UserName": "a" * 65}, constraints(("userName", f"{longest} 64"))),
            ({"UserName": ""}, constraints(("userName", f"{shortest} 1"))),
            ({"ServiceName": ""}, constraints(("serviceName", f"{shortest} 1"))),
            ({"ServiceName": "a" * 129}, constraints(("serviceName", f"{longest} 128"))),
            (
                {"CredentialAgeDays": 0},
                constraints(("credentialAgeDays", "have value greater than or equal to 1")),
            ),
            (
                {"CredentialAgeDays": 36601},
                constraints(("credentialAgeDays", "have value less than or equal to 36600")),
            ),
        ]:
            self.invalid(message, create, **ok | changes)
        self.invalid(constraints(("serviceName", "not be null")), create, UserName="anika")

        update = iam.update_service_specific_credential
        ok = {"UserName": "anika", "ServiceSpecificCredentialId": NOBODY, "Status": "Active"}
        name = "serviceSpecificCredentialId"
        for changes, message in [
            ({"ServiceSpecificCredentialId": "A" * 19}, constraints((name, f"{shortest} 20"))),
            ({"ServiceSpecificCredentialId": "A" * 129}, constraints((name, f"{longest} 128"))),
            (
                {"ServiceSpecificCredentialId": "-" * 20},
                constraints((name, r"satisfy regular expression pattern: [\w]+")),
            ),
            ({"Status": "active"}, constraints(("status", "satisfy enum value set"))),
        ]:
            self.invalid(message, update, **ok | changes)

        listing = iam.list_service_specific_credentials
        self.users("anika")
        for changes, message in [
            ({"MaxItems": 0}, constraints(("maxItems", "have value greater than or equal to 1"))),
            (
                {"MaxItems": 1001},
                constraints(("maxItems", "have value less than or equal to 1000")),
            ),
            ({"Marker": ""}, constraints(("marker", f"{shortest} 1"))),
            ({"Marker": "a" * 321}, constraints(("marker", f"{longest} 320"))),
            ({"Marker": "no such position"}, "Invalid Marker."),
        ]:
            self.invalid(message, listing, UserName="anika", **changes)
        for call in [iam.create_user, iam.delete_user, iam.update_user]:
            self.invalid(constraints(("userName", "not be null")), call)

    def test_several_violations(self):
        iam = self.client(parameter_validation=False)
        violations = constraints(
            ("userName", "have length less than or equal to 64"),
            ("userName", r"satisfy regular expression pattern: [\w+=,.@-]+"),
            ("serviceName", "not be null"),
            ("credentialAgeDays", "have value greater than or equal to 1"),
        )
        parameters = {"UserName": "é" * 65, "CredentialAgeDays": -1}
        self.invalid(violations, iam.create_service_specific_credential, **parameters)
        violations = constraints(
            ("serviceSpecificCredentialId", "have length greater than or equal to 20"),
            ("status", "satisfy enum value set"),
        )
        parameters = {"UserName": "anika", "ServiceSpecificCredentialId": "A", "Status": "On"}
        self.invalid(violations, iam.update_service_specific_credential, **parameters)

    def test_marker_of_another_query(self):
        self.users("anika", "bert")
        for user in ["anika", "bert"]:
            self.create(user)
            self.create(user)
        page = self.iam.list_service_specific_credentials(UserName="anika", MaxItems=1)
        for query in [
            {"UserName": "bert"},
            {"AllUsers": True},
            {"UserName": "anika", "ServiceName": CODECOMMIT},
        ]:
            listing = self.iam.list_service_specific_credentials
            self.invalid("Invalid Marker.", listing, Marker=page["Marker"], **query)

    def test_forms_that_cannot_be_read(self):
        iam = self.client(parameter_validation=False)
        self.users("anika")
        self.malformed(
            "CredentialAgeDays must be an integer",
            iam.create_service_specific_credential,
            UserName="anika",
            ServiceName=CODECOMMIT,
            CredentialAgeDays="1.0",
        )
        listing = iam.list_service_specific_credentials
        self.malformed("MaxItems must be an integer", listing, UserName="anika", MaxItems=2**31)
        wrong = self.sending(iam, AllUsers="True")
        self.malformed("AllUsers must be a boolean", wrong, UserName="anika")
        twice = self.sending(iam, UserName=["anika", "anika"])
        self.malformed("A parameter is given more than once", twice)
        # Unknown parameters are ignored.
        self.done(self.sending(iam, Unknown="1")(UserName="anika"))

        long = "The request must not be longer than 1048576 bytes"
        rejection = (413, "MalformedInput", "ClientError", long)
        self.rejected(*rejection, listing, UserName="a" * 2**20)

    def test_actions_and_versions(self):
        iam = self.iam
        rejection = (400, "MissingAction", "ClientError", "Missing Action")
        self.rejected(*rejection, self.sending(iam, Action=None))
        unknown = lambda action, version: (
            *(400, "InvalidAction", "ClientError"),
            f"Could not find operation {action} for version {version}",
        )
        self.rejected(*unknown("ListGroups", "2010-05-08"), iam.list_groups)
        self.rejected(
            *unknown("X<&>]]>\ufffd", "2010-05-08"), self.sending(iam, Action="X<&>]]>\x01")
        )
        action = "ListServiceSpecificCredentials"
        self.rejected(*unknown(action, "2010-05-09"), self.sending(iam, Version="2010-05-09"))
        self.rejected(*unknown(action, ""), self.sending(iam, Version=None))

    # Persistence.

    def test_everything_is_there_after_a_restart(self):
        with tempfile.TemporaryDirectory() as folder:
            store = ["--store", f"redb:{folder}/credentials.redb"]
            self.restart(*store)
            self.users("anika", "bert")
            issued = [self.create(service=service) for service in SERVICES for _ in range(2)]
            issued.append(self.create("bert", CredentialAgeDays=7))
            off = self.create("bert")
            self.iam.update_service_specific_credential(
                UserName="bert",
                ServiceSpecificCredentialId=off["ServiceSpecificCredentialId"],
                Status="Inactive",
            )
            listed = self.list(AllUsers=True)
            users = self.iam.list_users()["Users"]

            self.restart(*store)
            self.assertEqual(self.list(AllUsers=True), listed)
            self.assertEqual(self.iam.list_users()["Users"], users)
            self.assertEqual(len(listed), len(issued) + 1)
            for credential in issued:
                service = credential["ServiceName"]
                known = self.emulator.authenticate(service, authorization(credential))
                self.assertEqual(known["id"], credential["ServiceSpecificCredentialId"])
                self.assertEqual(known["status"], "Active")
            self.assertEqual(self.emulator.authenticate(CODECOMMIT, authorization(off)), 401)
            wrong = basic(issued[0]["ServiceUserName"], issued[1]["ServicePassword"])
            self.assertEqual(self.emulator.authenticate(CODECOMMIT, wrong), 401)
            self.restart()

    def test_expired(self):
        """With a store file from 2016 and the documented numbering."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(os.environ["EXPIRED"], f"{folder}/credentials.redb")
            self.restart("--store", f"redb:{folder}/credentials.redb")
            [expired] = self.list(AllUsers=True)
            dates = check_credential(
                self, expired, DOCUMENTED, "anika", CODECOMMIT, status="Expired", secret=False
            )
            created, expiration = dates
            self.check_date(created)
            self.check_date(expiration, "ExpirationDate")
            dawn = datetime.datetime(2016, 11, 1, 17, 47, 22, 382000, datetime.timezone.utc)
            self.assertEqual([created, expiration], [dawn, dawn + datetime.timedelta(days=1)])

            identity = expired["ServiceSpecificCredentialId"]
            names = {"UserName": "anika", "ServiceSpecificCredentialId": identity}
            rejection = (400, "InvalidInput", "InvalidInputException")
            message = f"service specific credential {identity} has expired"
            for status in ["Active", "Inactive"]:
                update = self.iam.update_service_specific_credential
                self.rejected(*rejection, message, update, **names, Status=status)
            reset = self.iam.reset_service_specific_credential
            self.rejected(*rejection, message, reset, **names)
            # It counts toward the limit, and can be deleted.
            self.create()
            create = self.iam.create_service_specific_credential
            limit = (409, "LimitExceeded", "LimitExceededException", QUOTA)
            self.rejected(*limit, create, UserName="anika", ServiceName=CODECOMMIT)
            self.done(self.iam.delete_service_specific_credential(**names))
            self.create()
            self.restart()

    def restart(self, *options):
        self.emulator.__exit__()
        self.emulator.options = ("--dialect", self.dialect.name, *options)
        self.emulator.__enter__()
        self.iam = self.client()


class Documented(Cases, unittest.TestCase):
    dialect = DOCUMENTED


class Recorded(Cases, unittest.TestCase):
    dialect = RECORDED


class Caller(Cases, unittest.TestCase):
    """Requests without a user name are about the caller."""

    dialect = RECORDED
    options = ("--caller", "Anika", "--account", ACCOUNT)

    def test_no_user_name(self):
        iam = self.iam = self.client(parameter_validation=False)
        self.missing(
            "The user with name Anika cannot be found.", iam.list_service_specific_credentials
        )
        self.users("anika", "bert")
        self.create("bert")
        issued = self.done(iam.create_service_specific_credential(ServiceName=CODECOMMIT))
        issued = issued["ServiceSpecificCredential"]
        self.check(issued)
        [listed] = self.list()
        self.check(listed, secret=False)
        identity = {"ServiceSpecificCredentialId": listed["ServiceSpecificCredentialId"]}
        iam.update_service_specific_credential(**identity, Status="Inactive")
        renewed = self.done(iam.reset_service_specific_credential(**identity))
        self.check(renewed["ServiceSpecificCredential"], status="Inactive")
        iam.delete_service_specific_credential(**identity)
        self.assertEqual(self.list(), [])
        self.assertEqual(self.list(AllUsers=False), [])
        self.assertEqual(self.done(iam.get_user())["User"]["UserName"], "anika")
        self.assertEqual(len(self.list(AllUsers=True)), 1)
