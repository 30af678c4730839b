// The AWS SDK for JavaScript, version 3, with the emulator at the URL of the argument: outputs,
// typed exceptions, dates and paginators. `test_javascript.py` runs it.

"use strict";

const assert = require("node:assert/strict");
const {
  IAM,
  paginateListUsers,
  paginateListUserTags,
  paginateListMFADevices,
  DeleteConflictException,
  EntityAlreadyExistsException,
  IAMServiceException,
  InvalidInputException,
  LimitExceededException,
  NoSuchEntityException,
  ServiceNotSupportedException,
} = require("@aws-sdk/client-iam");

const CODECOMMIT = "codecommit.amazonaws.com";
const iam = new IAM({
  endpoint: process.argv[2],
  region: "us-east-1",
  credentials: { accessKeyId: "123456789012", secretAccessKey: "fake" },
  maxAttempts: 1,
});

/** Checks that a call fails with this exception, status and message. */
async function fails(call, exception, status, message) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof exception, `${error.name} is no ${exception.name}`);
    assert.ok(error instanceof IAMServiceException);
    assert.equal(error.$metadata.httpStatusCode, status);
    assert.equal(error.message, message);
    return true;
  });
}

/** The output of a call without its metadata. */
async function output(call) {
  const { $metadata, ...rest } = await call;
  assert.equal($metadata.httpStatusCode, 200);
  assert.match($metadata.requestId, /^[0-9a-f-]{36}$/);
  return rest;
}

async function users() {
  const tags = [
    { Key: "device", Value: "laptop" },
    { Key: "empty", Value: "" },
  ];
  const created = await output(
    iam.createUser({ UserName: "anika", Path: "/team/", Tags: tags }),
  );
  assert.ok(created.User.CreateDate instanceof Date);
  assert.ok(Math.abs(Date.now() - created.User.CreateDate) < 60_000);
  assert.equal(created.User.Arn, "arn:aws:iam::123456789012:user/team/anika");
  assert.deepEqual(created.User.Tags, tags);
  assert.deepEqual(await output(iam.getUser({ UserName: "ANIKA" })), created);
  await fails(
    iam.createUser({ UserName: "Anika" }),
    EntityAlreadyExistsException,
    409,
    "User with name Anika already exists.",
  );
  const boundary = "arn:aws:iam::aws:policy/ReadOnlyAccess";
  await fails(
    iam.createUser({ UserName: "bo", PermissionsBoundary: boundary }),
    InvalidInputException,
    400,
    "PermissionsBoundary is not supported",
  );
  await fails(
    iam.tagUser({ UserName: "anika", Tags: [] }),
    InvalidInputException,
    400,
    "Tags must not be empty",
  );

  for (let number = 0; number < 5; number++) {
    const Tags = [{ Key: "number", Value: `${number}` }];
    await output(iam.createUser({ UserName: `user${number}`, Path: "/many/", Tags }));
  }
  const sizes = [];
  const names = [];
  const pages = paginateListUsers({ client: iam, pageSize: 2 }, { PathPrefix: "/many" });
  for await (const page of pages) {
    sizes.push(page.Users.length);
    names.push(...page.Users.map((user) => user.UserName));
  }
  assert.deepEqual(sizes, [2, 2, 1]);
  assert.deepEqual(names, ["user0", "user1", "user2", "user3", "user4"]);

  const keys = [];
  // Paginators write the marker into their input.
  const one = { UserName: "anika" };
  for await (const page of paginateListUserTags({ client: iam, pageSize: 1 }, { ...one })) {
    keys.push(...page.Tags.map((tag) => tag.Key));
  }
  assert.deepEqual(keys, ["device", "empty"]);
  for await (const page of paginateListMFADevices({ client: iam }, one)) {
    assert.deepEqual([page.MFADevices, page.IsTruncated], [[], false]);
  }
}

async function credentials() {
  const one = { UserName: "anika", ServiceName: CODECOMMIT };
  const created = await output(
    iam.createServiceSpecificCredential({ ...one, CredentialAgeDays: 30 }),
  );
  const issued = created.ServiceSpecificCredential;
  assert.ok(issued.CreateDate instanceof Date && issued.ExpirationDate instanceof Date);
  assert.equal(issued.ExpirationDate - issued.CreateDate, 30 * 86_400_000);
  assert.equal(issued.ServiceUserName, "anika+1-at-123456789012");
  assert.equal(issued.ServicePassword.length, 44);

  const key = await iam.createServiceSpecificCredential({
    UserName: "anika",
    ServiceName: "bedrock.amazonaws.com",
  });
  assert.match(key.ServiceSpecificCredential.ServiceCredentialSecret, /^ABSK/);
  assert.equal(key.ServiceSpecificCredential.ServicePassword, undefined);

  const identity = {
    UserName: "anika",
    ServiceSpecificCredentialId: issued.ServiceSpecificCredentialId,
  };
  assert.deepEqual(
    await output(iam.updateServiceSpecificCredential({ ...identity, Status: "Inactive" })),
    {},
  );
  const reset = await output(iam.resetServiceSpecificCredential(identity));
  const { ServicePassword: password, ...renewed } = reset.ServiceSpecificCredential;
  const { ServicePassword: former, ...before } = issued;
  assert.notEqual(password, former);
  assert.deepEqual(renewed, { ...before, Status: "Inactive" });

  // The SDK has no paginator for this list.
  const listed = [];
  let Marker;
  do {
    const page = await iam.listServiceSpecificCredentials({ AllUsers: true, MaxItems: 1, Marker });
    listed.push(...page.ServiceSpecificCredentials.map((it) => it.ServiceSpecificCredentialId));
    Marker = page.Marker;
    assert.equal(page.IsTruncated, Marker !== undefined);
  } while (Marker);
  assert.equal(new Set(listed).size, 2);

  await fails(
    iam.createServiceSpecificCredential({ ...one, ServiceName: "nothing.amazonaws.com" }),
    ServiceNotSupportedException,
    404,
    "No such service nothing.amazonaws.com is supported for Service Specific Credentials",
  );
  await fails(
    iam.listServiceSpecificCredentials({ UserName: "nobody" }),
    NoSuchEntityException,
    404,
    "The user with name nobody cannot be found.",
  );
  await output(iam.createServiceSpecificCredential(one));
  await fails(
    iam.createServiceSpecificCredential(one),
    LimitExceededException,
    409,
    "Cannot exceed quota for ContextSpecificCredentialsPerUserPerContext: 2",
  );
  await fails(
    iam.deleteUser({ UserName: "anika" }),
    DeleteConflictException,
    409,
    "Cannot delete entity, must remove referenced objects first.",
  );
  // The model declares no exception of this code.
  await fails(
    iam.deleteServiceSpecificCredential({ ...identity, ServiceSpecificCredentialId: "a" }),
    IAMServiceException,
    400,
    "1 validation error detected: Value at 'serviceSpecificCredentialId' failed to satisfy " +
      "constraint: Member must have length greater than or equal to 20",
  );
  assert.deepEqual(await output(iam.deleteServiceSpecificCredential(identity)), {});
}

async function main() {
  await users();
  await credentials();
}

main().then(
  () => console.log("done"),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
