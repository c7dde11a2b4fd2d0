import { assert, describe, it } from "@effect/vitest"
import * as CompareCode from "@valetkey/domain/CompareCode"
import { Digest, Entropy } from "@valetkey/domain/Entropy"
import * as NodeEntropy from "@valetkey/keyring/NodeEntropy"
import { Effect, Redacted } from "effect"
import fc from "fast-check"

const digests = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) =>
  Digest.make(Buffer.from(bytes).toString("base64url"))
)

describe("CompareCode", () => {
  it("BIND-16 is eight letters of RFC 8628 §6.1 in two groups, whatever the digest", () =>
    fc.assert(
      fc.property(digests, (digest) => {
        const code = CompareCode.ofDigest(digest)
        assert.match(code, /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/)
        assert.strictEqual(CompareCode.ofDigest(digest), code)
      })
    ))

  it("is all of the number that the digest is, in base 20", () =>
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 20n ** 8n - 1n }), (number) => {
        const digest = Digest.make(sextets(number))
        let decoded = 0n
        for (const letter of [...CompareCode.ofDigest(digest).replace("-", "")].reverse()) {
          decoded = decoded * 20n + BigInt("BCDFGHJKLMNPQRSTVWXZ".indexOf(letter))
        }
        assert.strictEqual(decoded, number)
      })
    ))

  it.effect("is the same for the same ticket, another for another, and no part of the ticket's digest", () =>
    Effect.gen(function*() {
      const entropy = yield* Entropy
      const codes = new Set<string>()
      for (let index = 0; index < 1000; index++) {
        const ticket = yield* entropy.secret
        const code = CompareCode.ofTicket(entropy, ticket)
        assert.strictEqual(CompareCode.ofTicket(entropy, Redacted.make(Redacted.value(ticket))), code)
        assert.notStrictEqual(CompareCode.ofDigest(entropy.digest(ticket)), code)
        codes.add(code)
      }
      assert.strictEqual(codes.size, 1000)
    }).pipe(Effect.provide(NodeEntropy.layer)))
})

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

const sextets = (number: bigint): string => {
  let text = ""
  for (let rest = number; rest > 0n; rest /= 64n) text = alphabet[Number(rest % 64n)] + text
  return text.padStart(43, "A")
}
