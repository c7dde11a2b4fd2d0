import { assert, describe, it } from "@effect/vitest"
import { TokenError } from "@valetkey/domain/AccessToken"
import { DiscoveryError } from "@valetkey/domain/AuthorizationServer"
import { CipherError } from "@valetkey/domain/Cipher"
import { FlowId } from "@valetkey/domain/Flow"
import { FlowConflict } from "@valetkey/domain/FlowStore"
import { StoreError } from "@valetkey/domain/StoreError"
import { Duration, Effect, Schema } from "effect"
import { ApiProblem } from "../src/ApiProblem.ts"
import { errorCodes, errorStatus } from "../src/ErrorStatus.ts"

describe("ApiProblem", () => {
  it("S2.10 keeps code, sentence and what helps, and leaves causes behind", () => {
    const running = FlowId.make("018f0000-0000-7000-8000-000000000000")
    const conflict = ApiProblem.fromError(new FlowConflict({ running }))
    assert.deepInclude({ ...conflict }, { code: "flow_conflict", status: 409, running })
    const later = ApiProblem.fromError(
      new TokenError({ code: "refresh_in_progress", retryAfter: Duration.millis(1200) })
    )
    assert.strictEqual(later.retryAfterSeconds, 2)
    const codes = ["encryption_key_unavailable", "encryption_key_missing", "integrity_error"] as const
    assert.deepStrictEqual(
      codes.map((code) => ApiProblem.fromError(new CipherError({ code })).retryAfterSeconds),
      [1, 30, undefined]
    )
    const discovery = new DiscoveryError({ code: "metadata_invalid", cause: "secret" })
    const encoded = JSON.stringify(Schema.encodeSync(ApiProblem)(ApiProblem.fromError(discovery)))
    assert.include(encoded, discovery.message)
    assert.notInclude(encoded, "secret")
    const store = ApiProblem.fromError(new StoreError({ code: "store_unavailable", operation: "commit" }))
    assert.notInclude(JSON.stringify(Schema.encodeSync(ApiProblem)(store)), "commit")
  })

  it("has a status and a type of its own for every code", () => {
    for (const code of errorCodes) {
      const problem = ApiProblem.of(code, "")
      assert.strictEqual(problem.status, errorStatus[code])
      assert.strictEqual(problem.type, `https://valetkey.dev/problems/${code}`)
      assert.isTrue(problem.status >= 400 && problem.status < 600)
    }
  })

  it.effect("survives the wire and can be caught by its tag", () =>
    Effect.gen(function*() {
      const problem = ApiProblem.of("forbidden", "No", { requiredScopes: ["admin"] })
      const wire = JSON.parse(JSON.stringify(yield* Schema.encodeEffect(ApiProblem)(problem)))
      assert.notProperty(wire, "_tag")
      const read = yield* Schema.decodeUnknownEffect(ApiProblem)(wire)
      const caught = yield* Effect.catchTag(Effect.fail(read), "ApiProblem", (error) => Effect.succeed(error.code))
      assert.strictEqual(caught, "forbidden")
    }))
})
