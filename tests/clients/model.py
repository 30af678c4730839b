"""The service model of IAM, in botocore's copy: what requests and responses must satisfy."""

import re
import unicodedata
import xml.etree.ElementTree as ElementTree

import boto3
import botocore.session
from botocore.config import Config

IAM = botocore.session.get_session().get_service_model("iam")
NAMESPACE = "{https://iam.amazonaws.com/doc/2010-05-08/}"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
# A character for each category of Unicode that a pattern names, as in `\p{L}`.
CATEGORIES = {"L": "\ue000", "N": "\ue001", "Z": "\ue002"}


def matches(pattern, text):
    """Whether the whole text matches a pattern of the model."""
    named = re.findall(r"\\p\{(\w)\}", pattern)
    for category in named:
        pattern = pattern.replace(rf"\p{{{category}}}", CATEGORIES[category])
    # Those patterns list all other characters one by one.
    category = lambda c: unicodedata.category(c)[0]
    text = "".join(CATEGORIES[category(c)] if category(c) in named else c for c in text)
    return re.fullmatch(pattern, text, re.ASCII) is not None


def member_name(shape):
    return shape.serialization.get("name", "member")


def element_name(name, shape):
    return shape.serialization.get("name", name)


def violations(shape, value):
    """How an XML element violates a shape."""
    at, bounds = value.tag.removeprefix(NAMESPACE), shape.metadata
    if shape.type_name == "structure":
        known = {NAMESPACE + element_name(name, it): it for name, it in shape.members.items()}
        tags = [child.tag for child in value]
        for required in shape.required_members:
            if NAMESPACE + required not in tags:
                yield f"{at} has no {required}"
        for child in value:
            if child.tag not in known:
                yield f"{at} has an unknown member {child.tag}"
            elif tags.count(child.tag) > 1:
                yield f"{at} has several members {child.tag}"
            else:
                yield from violations(known[child.tag], child)
        return
    if shape.type_name == "list":
        for child in value:
            if child.tag != NAMESPACE + member_name(shape.member):
                yield f"{at} has a member {child.tag}"
            yield from violations(shape.member, child)
        length = len(value)
    else:
        if len(value):
            yield f"{at} has elements"
        text = value.text or ""
        length = len(text)
        if shape.type_name == "timestamp" and not TIMESTAMP.fullmatch(text):
            yield f"{at} is no timestamp: {text}"
        if shape.type_name == "boolean" and text not in ("true", "false"):
            yield f"{at} is no boolean: {text}"
        if shape.type_name not in ("string", "timestamp", "boolean"):
            yield f"{at} is of an unexpected type, {shape.type_name}"
        if "enum" in bounds and text not in bounds["enum"]:
            yield f"{at} is none of {bounds['enum']}: {text}"
        if "pattern" in bounds and length and not matches(bounds["pattern"], text):
            yield f"{at} does not match {bounds['pattern']}: {text}"
    if not bounds.get("min", 0) <= length <= bounds.get("max", length):
        yield f"{at} has a length of {length}, not {bounds}"


def response_violations(operation, status, body):
    """How the body of a response violates the model of its operation."""
    root = ElementTree.fromstring(body)
    if status >= 400:
        return list(error_violations(status, root))
    names = [child.tag.removeprefix(NAMESPACE) for child in root]
    output = operation.output_shape
    result = f"{operation.name}Result"
    # An operation without an output has no result.
    expected = [result, "ResponseMetadata"] if output else ["ResponseMetadata"]
    if (root.tag, names) != (f"{NAMESPACE}{operation.name}Response", expected):
        return [f"{root.tag} has {names}, not {expected}"]
    return list(violations(output, root[0])) if output else []


def error_violations(status, root):
    """An error that the model declares has the declared status."""
    texts = {child.tag.removeprefix(NAMESPACE): child.text for child in root.iter()}
    if root.tag != f"{NAMESPACE}ErrorResponse" or not texts.get("Code"):
        yield f"{root.tag} has no code"
    if texts["Type"] != ("Receiver" if status >= 500 else "Sender"):
        yield f"{status} is of the type {texts['Type']}"
    for error in IAM.error_shapes:
        declared = error.metadata.get("error", {})
        if declared.get("code") == texts["Code"] and declared["httpStatusCode"] != status:
            yield f"{texts['Code']} has the status {status}"


def client(test, url, **settings):
    """A client of an emulator, without retries, whose responses must satisfy the model."""
    config = Config(retries={"total_max_attempts": 1}, **settings)
    iam = boto3.client("iam", endpoint_url=url, config=config)
    test.addCleanup(iam.close)
    validate_responses(test, iam)
    return iam


def validate_responses(test, client):
    """Has every response to this client validated, and fails the test if one violates the model."""

    def validate(http_response, model, **_):
        found = response_violations(model, http_response.status_code, http_response.content)
        test.assertEqual(found, [], model.name)

    client.meta.events.register("after-call.iam", validate)


def valid_value(shape):
    """A value of a shape whose strings may be any letter."""
    if shape.type_name == "structure":
        return {name: valid_value(member) for name, member in shape.members.items()}
    return "a"


def invalid_values(shape, path):
    """A value that violates it for each constraint of an input shape, and the path of the value."""
    bounds = shape.metadata
    shortest = bounds.get("min", 0)
    if shape.type_name == "list":
        yield [valid_value(shape.member)] * (bounds["max"] + 1), path
        for value, below in invalid_values(shape.member, f"{path}.1.member"):
            yield [value], below
    elif shape.type_name == "structure":
        for name, member in shape.members.items():
            below = f"{path}.{camel_case(name)}"
            for value, below in invalid_values(member, below):
                yield valid_value(shape) | {name: value}, below
            if name in shape.required_members:
                yield {k: v for k, v in valid_value(shape).items() if k != name}, below
    elif shape.type_name == "integer":
        yield shortest - 1, path
        yield bounds["max"] + 1, path
    elif shape.type_name == "string":
        if shortest:
            yield "", path
        if "max" in bounds:
            yield "a" * (bounds["max"] + 1), path
        if "pattern" in bounds:
            yield "\x01" * max(shortest, 1), path
        if "enum" in bounds:
            yield "none of these", path


def camel_case(name):
    """The name of a member in the messages of errors."""
    return name[0].lower() + name[1:]
