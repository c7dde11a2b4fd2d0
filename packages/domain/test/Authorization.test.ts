import { assert, describe, it } from "@effect/vitest"
import { CallbackAccepted, CallbackReceived } from "@valetkey/domain/Authorization"
import type { ClaimedFlow } from "@valetkey/domain/FlowStore"
import { Redacted, Result } from "effect"
import fc from "fast-check"

const parse = (query: string) => CallbackReceived.parse(new URLSearchParams(query))
const flow = (issRequired: boolean) =>
  ({ authorization: { grant: { issuer: "https://as.example" }, snapshot: { issRequired } } }) as ClaimedFlow
const accept = (query: string, issRequired = true) =>
  CallbackAccepted.accept(Result.getOrThrow(parse(query)), flow(issRequired))
const iss = "iss=https%3A%2F%2Fas.example"

describe("CallbackReceived", () => {
  it("FLOW-01 FLOW-10 FLOW-15 is not made without state, of repeated parameters or of oversize ones", () => {
    for (
      const query of [
        "",
        "code=c",
        "state=&code=c",
        "state=s&state=x&code=c",
        "state=x&code=c&state=s",
        "state=s&code=c&code=d",
        "state=s&iss=a&iss=a&code=c",
        "state=s&error=a&error=b",
        `state=${"s".repeat(1025)}&code=c`,
        `state=s&code=${"c".repeat(16_385)}`
      ]
    ) assert.isTrue(Result.isFailure(parse(query)), query.slice(0, 40))
  })

  it("FLOW-16 keeps every byte of a code, decoded once", () => {
    fc.assert(fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 200 }), (code) => {
      const received = Result.getOrThrow(parse(new URLSearchParams({ state: "s", code }).toString()))
      assert.strictEqual(Redacted.value(received.code!), new TextDecoder().decode(new TextEncoder().encode(code)))
    }))
  })

  it("shows neither state nor code", () => {
    const received = Result.getOrThrow(parse("state=very-secret&code=very-secret"))
    assert.notInclude(JSON.stringify(received) + String(received), "very-secret")
  })
})

describe("CallbackAccepted", () => {
  it("takes a code of the recorded issuer", () => {
    const accepted = Result.getOrThrow(accept(`state=s&code=c&${iss}`))
    assert.strictEqual(Redacted.value(accepted.code), "c")
    assert.isTrue(Result.isSuccess(accept("state=s&code=c", false)))
    assert.isTrue(Result.isSuccess(accept(`state=s&code=c&${iss}`, false)))
  })

  it("DISC-03 refuses an issuer that is another one, also where the metadata promised none", () => {
    for (const issRequired of [true, false]) {
      for (const iss of ["https://evil.example", "https://as.example/", "https://AS.example", ""]) {
        const query = new URLSearchParams({ state: "s", code: "c", iss })
        assert.deepStrictEqual(accept(query.toString(), issRequired), Result.fail("issuer_mismatch"), iss)
      }
    }
  })

  it("FLOW-11 FLOW-14 refuses in the order issuer, error, code", () => {
    const refusals: ReadonlyArray<readonly [string, boolean, string]> = [
      ["state=s&code=c", true, "issuer_mismatch"],
      ["state=s&code=c&iss=https%3A%2F%2Fas.example%2F", false, "issuer_mismatch"],
      ["state=s&error=access_denied&iss=https%3A%2F%2Fevil.example", false, "issuer_mismatch"],
      [`state=s&error=access_denied&${iss}`, true, "access_denied"],
      [`state=s&error=invalid_scope&${iss}`, true, "authorization_refused"],
      [`state=s&error=access_denied&code=c&${iss}`, true, "malformed_response"],
      [`state=s&${iss}`, true, "malformed_response"],
      [`state=s&code=&${iss}`, true, "malformed_response"]
    ]
    for (const [query, issRequired, refusal] of refusals) {
      assert.strictEqual(Result.getOrUndefined(Result.flip(accept(query, issRequired))), refusal, query)
    }
  })
})
