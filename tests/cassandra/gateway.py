"""A running gateway, and three drivers that log in to it."""

import json
import os
import re
import ssl
import subprocess
import urllib.parse
import urllib.request

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, ExecutionProfile, EXEC_PROFILE_DEFAULT, NoHostAvailable
from cassandra.policies import WhiteListRoundRobinPolicy

STORE = os.environ["STORE"]
CERTIFICATE = os.path.join(STORE, "gateway-cert.pem")
KEY = os.path.join(STORE, "gateway-key.pem")
TLS = ["--cert", CERTIFICATE, "--key", KEY]
RELEASE = "5.0.0"

# The message of a denial, which all drivers include in their errors.
DENIED = "the credential is not valid for this service"

# Local requests bypass configured proxies.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def credentials():
    """The test cases: a user name, a password, and whether they are valid."""
    with open(os.path.join(STORE, "credentials.json")) as file:
        return json.load(file)


class Gateway:
    """A gateway that runs within a `with` block."""

    def __init__(self, *options, environment={}):
        store = "redb:" + os.path.join(STORE, "credentials.redb")
        self.command = [os.environ["GATEWAY"], "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        self.command += ["--store", store, *options]
        self.environment = environment
        self.certificate = CERTIFICATE if "--cert" in options else None

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | self.environment,
        )
        line = self.process.stdout.readline()
        assert line.startswith("listening on 127.0.0.1:"), line
        self.port = int(line.rsplit(":", 1)[1])
        self.admin = self.process.stdout.readline().split()[-1]
        return self

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(30)
        self.process.stdout.close()
        assert code == 0, code

    def call(self, action, **parameters):
        """Calls the IAM Query API. Returns the elements of the response."""
        form = {"Action": action, "Version": "2010-05-08", **parameters}
        with direct.open(self.admin, urllib.parse.urlencode(form).encode()) as response:
            return dict(re.findall(r"<(\w+)>([^<]*)</\1>", response.read().decode()))

    def create(self, user):
        """A new credential of a new user."""
        self.call("CreateUser", UserName=user)
        service = "cassandra.amazonaws.com"
        return self.call("CreateServiceSpecificCredential", UserName=user, ServiceName=service)


def python_driver(version):
    """The Python driver, in one version of the protocol, or in the highest that both support."""

    def connect(gateway, user, password):
        tls = ssl.create_default_context(cafile=gateway.certificate)
        # Connect to this node only, regardless of the address that it reports.
        profile = ExecutionProfile(WhiteListRoundRobinPolicy(["127.0.0.1"]), request_timeout=60)
        options = {} if version is None else {"protocol_version": version}
        cluster = Cluster(
            ["127.0.0.1"],
            port=gateway.port,
            auth_provider=PlainTextAuthProvider(user, password),
            ssl_context=tls if gateway.certificate else None,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            connect_timeout=60,
            **options,
        )
        try:
            session = cluster.connect()
        except BaseException:
            cluster.shutdown()
            raise
        assert cluster.protocol_version == (version or 5), cluster.protocol_version
        return cluster, session

    def log_in(gateway, user, password):
        try:
            cluster, session = connect(gateway, user, password)
        except NoHostAvailable as error:
            return str(error)
        with cluster:
            return session.execute("SELECT release_version FROM system.local").one()[0]

    log_in.connect = connect
    log_in.__name__ = f"Python driver, version {version}"
    return log_in


def cqlsh(gateway, user, password):
    environment = os.environ | {"SSL_CERTFILE": CERTIFICATE, "HOME": STORE}
    tls = ["--ssl"] if gateway.certificate else []
    address = ["--connect-timeout=60", "127.0.0.1", str(gateway.port)]
    command = ["cqlsh", *tls, "-u", user, "-p", password, "-e", "SHOW VERSION", *address]
    shell = subprocess.run(command, capture_output=True, text=True, env=environment)
    version = re.search(r"\| Cassandra ([\d.]+) \|", shell.stdout)
    return version[1] if version and shell.returncode == 0 else shell.stderr


def scylla(gateway, user, password, sessions=1):
    arguments = [f"127.0.0.1:{gateway.port}", user, str(sessions)]
    command = [os.environ["SCYLLA"], *arguments, *filter(None, [gateway.certificate])]
    environment = os.environ | {"PASSWORD": password}
    driver = subprocess.run(command, capture_output=True, text=True, env=environment)
    if driver.returncode != 0:
        return driver.stderr
    releases = driver.stdout.split()
    assert len(releases) == sessions, releases
    return ", ".join(set(releases))


DRIVERS = [python_driver(version) for version in (3, 4, 5, None)] + [cqlsh, scylla]
