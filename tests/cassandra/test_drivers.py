"""Real drivers log in to the gateway."""

import unittest
from concurrent.futures import ThreadPoolExecutor

from cassandra import InvalidRequest
from cassandra.cluster import NoHostAvailable

from gateway import DENIED, DRIVERS, RELEASE, TLS, Gateway, credentials, python_driver, scylla


class Logins(unittest.TestCase):
    def check(self, result, valid):
        if valid:
            self.assertEqual(result, RELEASE)
        else:
            self.assertIn(DENIED, result)
            self.assertNotIn(RELEASE, result)

    def test_every_driver_logs_in_with_valid_credentials_only(self):
        cases = credentials()
        self.assertEqual(sum(valid for _, _, valid in cases.values()), 3)
        self.assertEqual(len(cases), 11)
        for options in ([], TLS):
            # The drivers retry denied logins, which must not be throttled here.
            with Gateway("--failed-logins", "1000", *options) as gateway:
                for driver in DRIVERS:
                    for case, (user, password, valid) in cases.items():
                        with self.subTest(driver=driver.__name__, case=case, tls=bool(options)):
                            self.check(driver(gateway, user, password), valid)

    def test_a_password_that_is_reset_between_two_sessions_is_denied(self):
        with Gateway() as gateway:
            issued = gateway.create("reset")
            user, password = issued["ServiceUserName"], issued["ServicePassword"]
            id = issued["ServiceSpecificCredentialId"]
            for driver in DRIVERS:
                with self.subTest(driver=driver.__name__):
                    self.check(driver(gateway, user, password), True)
                    former = password
                    reset = gateway.call(
                        "ResetServiceSpecificCredential",
                        UserName="reset",
                        ServiceSpecificCredentialId=id,
                    )
                    password = reset["ServicePassword"]
                    self.check(driver(gateway, user, former), False)
                    self.check(driver(gateway, user, password), True)

    def test_a_throttled_login_is_not_reported_as_a_wrong_password(self):
        user, password, _ = credentials()["valid"]
        with Gateway("--failed-logins", "1") as gateway:
            self.check(scylla(gateway, user, "wrong"), False)
            for driver in DRIVERS:
                with self.subTest(driver=driver.__name__):
                    result = driver(gateway, user, password)
                    self.assertIn("too many failed logins", result)
                    self.assertNotIn(DENIED, result)


class Sessions(unittest.TestCase):
    def test_two_hundred_sessions_of_one_process(self):
        user, password, _ = credentials()["valid"]
        for options in ([], TLS):
            # A session has a control connection and a pool.
            with Gateway("--connections", "2000", *options) as gateway:
                self.assertEqual(scylla(gateway, user, password, sessions=200), RELEASE)

    def test_twenty_sessions_of_the_python_driver(self):
        user, password, _ = credentials()["valid"]
        with Gateway() as gateway, ThreadPoolExecutor(20) as pool:
            connect = python_driver(None).connect
            opened = list(pool.map(lambda _: connect(gateway, user, password), range(20)))
            for cluster, session in opened:
                prepared = session.prepare("SELECT cluster_name FROM system.local")
                self.assertEqual(session.execute(prepared).one()[0], "cassandra_gateway")
                self.assertEqual(list(cluster.metadata.keyspaces), [])
                with self.assertRaises(InvalidRequest):
                    session.execute("SELECT * FROM anika.secrets")
            for cluster, _ in opened:
                cluster.shutdown()

    def test_a_session_ends_after_its_credential_was_disabled(self):
        with Gateway("--recheck", "1", "--failed-logins", "1000") as gateway:
            issued = gateway.create("disabled")
            id = issued["ServiceSpecificCredentialId"]
            name, password = issued["ServiceUserName"], issued["ServicePassword"]
            cluster, session = python_driver(5).connect(gateway, name, password)
            with cluster:
                session.execute("SELECT key FROM system.local")
                gateway.call(
                    "UpdateServiceSpecificCredential",
                    UserName="disabled",
                    ServiceSpecificCredentialId=id,
                    Status="Inactive",
                )
                # Until the recheck, within a second.
                with self.assertRaises(NoHostAvailable):
                    while True:
                        session.execute("SELECT key FROM system.local")


class Upstream(unittest.TestCase):
    """A second gateway substitutes a Cassandra, to which the first one logs in with a password."""

    def test_every_driver_connects_through_the_gateway(self):
        with Gateway("--store", "memory") as upstream:
            known = upstream.create("gateway")
            options = ["--upstream", f"127.0.0.1:{upstream.port}"]
            options += ["--upstream-user", known["ServiceUserName"]]
            environment = {"UPSTREAM_PASSWORD": known["ServicePassword"]}
            user, password, _ = credentials()["valid"]
            for tls in ([], TLS):
                with Gateway(*options, *tls, environment=environment) as gateway:
                    for driver in DRIVERS:
                        with self.subTest(driver=driver.__name__, tls=bool(tls)):
                            self.assertEqual(driver(gateway, user, password), RELEASE)
                            self.assertIn(DENIED, driver(gateway, user, "wrong"))


if __name__ == "__main__":
    unittest.main()
