import { assert, describe, it } from "@effect/vitest"
import { Fingerprints } from "@valetkey/domain/Fingerprints"
import * as Canary from "@valetkey/testing/Canary"
import { Effect, Redacted } from "effect"
import { createHmac, hkdfSync, randomBytes } from "node:crypto"
import * as KeyRingFingerprints from "../src/KeyRingFingerprints.ts"
import * as KeySource from "../src/KeySource.ts"

const root = randomBytes(32)
const source = (keys: string | undefined) => KeySource.fromText(keys === undefined ? undefined : Redacted.make(keys))
const of = (
  secret: Redacted.Redacted,
  { instanceId = "one", keys = `7:${root.toString("base64")}`, purpose = "access_token" as const }: {
    readonly instanceId?: string
    readonly keys?: string | undefined
    readonly purpose?: "access_token" | "refresh_token"
  } = {}
) =>
  Effect.flatMap(Fingerprints, (fingerprints) => fingerprints.of(purpose, secret)).pipe(
    Effect.provide(KeyRingFingerprints.layer({ instanceId, source: source(keys) }), { local: true })
  )

describe("KeyRingFingerprints", () => {
  it.effect("LEAK-12 CRY-18 names a secret by a key of its own, derived for each purpose and instance", () =>
    Effect.gen(function*() {
      const secret = Canary.make("fingerprinted")
      const found = yield* of(secret)
      const key = hkdfSync("sha256", root, "one", "valetkey/fingerprint/v1\0access_token", 32)
      const mac = createHmac("sha256", Buffer.from(key)).update(Redacted.value(secret)).digest("hex")
      assert.strictEqual(found, `7:${mac.slice(0, 16)}`)
      assert.strictEqual(yield* of(secret), found)
      const others = [
        yield* of(secret, { purpose: "refresh_token" }),
        yield* of(secret, { instanceId: "two" }),
        yield* of(secret, { keys: `7:${randomBytes(32).toString("base64")}` }),
        yield* of(Canary.make("fingerprinted"))
      ]
      assert.strictEqual(new Set([found, ...others]).size, 5)
    }))

  it.effect("fails closed without a key", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(of(Canary.make("fingerprinted"), { keys: "" }))
      assert.strictEqual(error.code, "encryption_key_missing")
    }))
})
