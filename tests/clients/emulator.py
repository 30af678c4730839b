"""A running emulator, the settings of both clients, and the checks of their results."""

import base64
import json
import os
import re
import subprocess
import tempfile
import urllib.error
import urllib.request

ACCOUNT = "123456789012"
CODECOMMIT = "codecommit.amazonaws.com"
PASSWORD_SERVICES = [CODECOMMIT, "cassandra.amazonaws.com"]
# The prefixes of their API keys.
API_KEY_SERVICES = {
    "bedrock.amazonaws.com": "ABSK",
    "logs.amazonaws.com": "ACWL",
    "cloudwatch.amazonaws.com": "APIAACWM",
    "aws-external-anthropic.amazonaws.com": "AEAA",
}
SERVICES = PASSWORD_SERVICES + list(API_KEY_SERVICES)

ID = re.compile(r"ACCA[A-Z2-7]{17}\Z")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")

# Local requests bypass configured proxies.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Emulator:
    """An emulator that runs within a `with` block, or until the end of a test."""

    def __init__(self, *options, log=None):
        self.options = options
        # A file for standard error, which has the log if there is the option `--log`.
        self.log = log

    def __enter__(self):
        command = [os.environ["EMULATOR"], "--listen", "127.0.0.1:0", *self.options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), line
        self.url = line.split()[-1]
        return self

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(30)
        self.process.stdout.close()
        assert code == 0, code

    def start(self, test):
        self.__enter__()
        test.addCleanup(self.__exit__)
        return self

    def authenticate(self, service, authorization):
        """The authenticated credential, or the status of the rejection."""
        request = urllib.request.Request(f"{self.url}/authenticate/{service}")
        request.add_header("Authorization", authorization)
        try:
            with direct.open(request) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


def basic(name, password):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def authorization(issued):
    """The `Authorization` header of an issued credential."""
    if "ServicePassword" in issued:
        return basic(issued["ServiceUserName"], issued["ServicePassword"])
    return "Bearer " + issued["ServiceCredentialSecret"]


def environment():
    """An environment without configuration of this machine, with arbitrary access keys."""
    folder = os.path.join(tempfile.gettempdir(), "no-such-folder")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return kept | {
        "AWS_ACCESS_KEY_ID": "fake",
        "AWS_SECRET_ACCESS_KEY": "fake",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.path.join(folder, "config"),
        "AWS_SHARED_CREDENTIALS_FILE": os.path.join(folder, "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_PAGER": "",
        "NO_PROXY": "127.0.0.1",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class Dialect:
    """The differences between the dialects and their policies."""

    def __init__(self, name, first, second, password_length, unsupported, others):
        self.name = name
        self.numbers = [first, second]
        self.password_length = password_length
        self.unsupported = unsupported
        self.others = others

    def service_user_name(self, user, place):
        return f"{user}{self.numbers[place]}-at-{ACCOUNT}"


DOCUMENTED = Dialect(
    "documented",
    "+1",
    "+2",
    44,
    (404, "NotSupportedService", "ServiceNotSupportedException"),
    (404, "NoSuchEntity", "NoSuchEntityException"),
)
RECORDED = Dialect(
    "recorded",
    "",
    "+1",
    60,
    (404, "NoSuchEntity", "NoSuchEntityException"),
    (400, "ValidationError", "ClientError"),
)


def check_credential(
    test, credential, dialect, user, service, place=0, status="Active", secret=True
):
    """Checks every field except the dates, and that there are no others. Returns the dates."""
    fields = dict(credential)
    test.assertEqual(fields.pop("UserName"), user)
    test.assertEqual(fields.pop("ServiceName"), service)
    test.assertEqual(fields.pop("Status"), status)
    test.assertRegex(fields.pop("ServiceSpecificCredentialId"), ID)
    name = dialect.service_user_name(user, place)
    if service in API_KEY_SERVICES:
        test.assertEqual(fields.pop("ServiceCredentialAlias"), name)
        if secret:
            key = fields.pop("ServiceCredentialSecret")
            prefix = API_KEY_SERVICES[service]
            test.assertTrue(key.startswith(prefix))
            inner = base64.b64decode(key[len(prefix) :], validate=True).decode()
            alias, password = inner.split(":")
            test.assertEqual(alias, name)
            check_password(test, password, dialect)
    else:
        test.assertEqual(fields.pop("ServiceUserName"), name)
        if secret:
            check_password(test, fields.pop("ServicePassword"), dialect)
    dates = [fields.pop("CreateDate"), fields.pop("ExpirationDate", None)]
    test.assertEqual(fields, {})
    return dates


def check_password(test, password, dialect):
    test.assertEqual(len(password), dialect.password_length)
    base64.b64decode(password, validate=True)
