"""boto3's paginators of every list: each item once, whatever the size of the pages."""

import os
import unittest

import model
from emulator import CODECOMMIT, SERVICES, Emulator, environment

os.environ.update(environment())


class Paginators(unittest.TestCase):
    def setUp(self):
        url = Emulator().start(self).url
        self.iam = model.client(self, url)

    def pages(self, operation, items, size, **parameters):
        pages = self.iam.get_paginator(operation).paginate(
            PaginationConfig={"PageSize": size}, **parameters
        )
        pages = list(pages)
        # Every page but the last one is truncated.
        truncated = [page["IsTruncated"] for page in pages]
        self.assertEqual(truncated, [True] * (len(pages) - 1) + [False])
        self.assertTrue(all(len(page[items]) <= size for page in pages))
        return [page[items] for page in pages]

    def check(self, operation, items, key, expected, **parameters):
        for size in (1, 2, 3, 7, 1000):
            pages = self.pages(operation, items, size, **parameters)
            self.assertEqual([it[key] for page in pages for it in page], expected, size)
            self.assertEqual(len(pages), max(1, -(-len(expected) // size)), size)
        # As an iterator of items, with a limit on their number.
        paginator = self.iam.get_paginator(operation).paginate(
            PaginationConfig={"PageSize": 2, "MaxItems": 3}, **parameters
        )
        self.assertEqual([it[key] for it in paginator.search(f"{items}[]")], expected[:3])

    def test_list_users(self):
        for number in range(7):
            path = "/even/" if number % 2 == 0 else "/odd/"
            self.iam.create_user(UserName=f"user{number}", Path=path)
        users = [f"user{number}" for number in range(7)]
        self.check("list_users", "Users", "UserName", users)
        for prefix, expected in [
            ("/", users),
            ("/even/", users[::2]),
            ("/o", users[1::2]),
            ("/nowhere/", []),
        ]:
            self.check("list_users", "Users", "UserName", expected, PathPrefix=prefix)

    def test_list_user_tags(self):
        self.iam.create_user(UserName="anika")
        self.check("list_user_tags", "Tags", "Key", [], UserName="anika")
        keys = [f"key{number:02}" for number in range(50)]
        tags = [{"Key": key, "Value": ""} for key in keys]
        self.iam.tag_user(UserName="anika", Tags=tags)
        self.check("list_user_tags", "Tags", "Key", keys, UserName="anika")

    def test_list_service_specific_credentials(self):
        """botocore has no paginator for it: its loop over markers."""
        self.assertFalse(self.iam.can_paginate("list_service_specific_credentials"))
        for user in ("anika", "bo"):
            self.iam.create_user(UserName=user)
            for service in SERVICES:
                self.iam.create_service_specific_credential(UserName=user, ServiceName=service)
        for parameters, count in [
            ({"UserName": "bo"}, len(SERVICES)),
            ({"AllUsers": True}, 2 * len(SERVICES)),
            ({"AllUsers": True, "ServiceName": CODECOMMIT}, 2),
            ({"UserName": "bo", "ServiceName": CODECOMMIT}, 1),
        ]:
            for size in (1, 5, 1000):
                ids, marker = [], {}
                while marker is not None:
                    page = self.iam.list_service_specific_credentials(
                        MaxItems=size, **parameters, **marker
                    )
                    listed = page["ServiceSpecificCredentials"]
                    self.assertLessEqual(len(listed), size)
                    ids += [it["ServiceSpecificCredentialId"] for it in listed]
                    self.assertEqual(page["IsTruncated"], "Marker" in page)
                    marker = {"Marker": page["Marker"]} if page["IsTruncated"] else None
                self.assertEqual((len(ids), len(set(ids))), (count, count), parameters)

    def test_calls_before_a_deletion(self):
        self.iam.create_user(UserName="anika")
        for operation, items in [
            ("list_groups_for_user", "Groups"),
            ("list_user_policies", "PolicyNames"),
            ("list_attached_user_policies", "AttachedPolicies"),
            ("list_access_keys", "AccessKeyMetadata"),
            ("list_ssh_public_keys", "SSHPublicKeys"),
            ("list_virtual_mfa_devices", "VirtualMFADevices"),
            ("list_mfa_devices", "MFADevices"),
            ("list_signing_certificates", "Certificates"),
        ]:
            of = {} if "virtual" in operation else {"UserName": "anika"}
            self.assertEqual(self.pages(operation, items, 1, **of), [[]], operation)
