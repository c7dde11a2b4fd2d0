import { assert, describe, it } from "@effect/vitest"
import { Context, SchemaAST } from "effect"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { readFileSync, writeFileSync } from "node:fs"
import { Authorization } from "../src/Authorization.ts"
import { EndpointPolicy, group, open } from "../src/Policy.ts"
import { ValetkeyApi } from "../src/ValetkeyApi.ts"

const endpoints: Array<HttpApiEndpoint.Top> = []
HttpApi.reflect(ValetkeyApi, { onGroup() {}, onEndpoint: ({ endpoint }) => void endpoints.push(endpoint as never) })
const named = (endpoint: HttpApiEndpoint.Top) => `${endpoint.method} ${endpoint.path}`

describe("the contract", () => {
  it("S2.48 is what openapi.json says", () => {
    const file = new URL("../openapi.json", import.meta.url)
    const generated = `${JSON.stringify(OpenApi.fromApi(ValetkeyApi), undefined, 2)}\n`
    if (process.env["UPDATE_OPENAPI"] !== undefined) writeFileSync(file, generated)
    assert.isTrue(readFileSync(file, "utf8") === generated, "openapi.json is stale: UPDATE_OPENAPI=1 vitest run")
  })

  it("S2.41 I26 gives every endpoint a policy, and guards all but what a supervisor asks", () => {
    const openEndpoints: Array<string> = []
    for (const endpoint of endpoints) {
      const policy = Context.getOrUndefined(endpoint.annotations, EndpointPolicy)
      assert.isDefined(policy, named(endpoint))
      if (policy!._tag === "Open") openEndpoints.push(named(endpoint))
      else assert.isTrue((endpoint.middlewares as ReadonlySet<unknown>).has(Authorization), named(endpoint))
    }
    assert.deepStrictEqual(openEndpoints.toSorted(), ["GET /livez", "GET /readyz"])
  })

  it("S2.41 takes no endpoint without a policy into a group", () => {
    const bare = HttpApiEndpoint.get("bare", "/bare", { success: HttpApiSchema.NoContent })
    // @ts-expect-error An endpoint without a policy is no member of a group.
    group("never", bare)
    assert.strictEqual(group("fine", open(bare)).identifier, "fine")
  })

  it("S2.12 API-14 gives out no secret but what a person consents with and the access token", () => {
    const secrets = endpoints.flatMap((endpoint) =>
      [...endpoint.success].flatMap((schema) => secretsOf(schema.ast).map((name) => `${named(endpoint)} ${name}`))
    )
    assert.deepStrictEqual([...new Set(secrets)].toSorted(), [
      "POST /v1/api-keys credential",
      "POST /v1/connections/:server/token accessToken",
      "POST /v1/connections/:server/token proof",
      "POST /v1/console consoleUrl",
      "POST /v1/flows authorizationUrl",
      "POST /v1/flows connectUrl",
      "POST /v1/flows userCode",
      "POST /v1/flows verificationUriComplete",
      "POST /v1/flows/:flowId/handoff authorizationUrl",
      "POST /v1/flows/:flowId/handoff connectUrl",
      "POST /v1/flows/:flowId/handoff userCode",
      "POST /v1/flows/:flowId/handoff verificationUriComplete"
    ])
  })

  it("S3.32 redacts every secret that it takes in from the moment it is decoded", () => {
    const text = JSON.stringify(OpenApi.fromApi(ValetkeyApi))
    for (const name of ["refreshToken", "clientSecret", "accessToken", "rejectedToken", "completionCode", "url"]) {
      assert.include(text, `"${name}"`)
    }
    const inbound = endpoints.flatMap((endpoint) =>
      [...endpoint.payload.values()].flatMap(({ schemas }) => schemas.flatMap((schema) => secretsOf(schema.ast)))
    )
    assert.deepStrictEqual([...new Set(inbound)].toSorted(), [
      "accessToken",
      "clientSecret",
      "completionCode",
      "passphrase",
      "proofKey",
      "refreshToken",
      "rejectedToken",
      "url"
    ])
  })

  it("S2.49 leaves nothing internal in the document", () => {
    assert.isTrue(Object.keys(OpenApi.fromApi(ValetkeyApi).paths).every((path) => /^\/(v1\/|livez|readyz)/.test(path)))
  })
})

/** Names of the properties, at any depth, that decode to a `Redacted`. */
function secretsOf(ast: SchemaAST.AST): ReadonlyArray<string> {
  const found: Array<string> = []
  const visit = (node: SchemaAST.AST, name: string): void => {
    if (SchemaAST.isDeclaration(node)) {
      if (isRedacted(node)) found.push(name)
      else node.typeParameters.forEach((parameter) => visit(parameter, name))
    } else if (SchemaAST.isObjects(node)) {
      node.propertySignatures.forEach((property) => visit(property.type, String(property.name)))
    } else if (SchemaAST.isArrays(node)) {
      for (const element of [...node.elements, ...node.rest]) visit(element, name)
    } else if (SchemaAST.isUnion(node)) {
      node.types.forEach((member) => visit(member, name))
    }
  }
  visit(SchemaAST.toType(ast), "")
  return found
}

function isRedacted(node: SchemaAST.Declaration): boolean {
  return node.annotations?.["expected"] === "Redacted"
}
