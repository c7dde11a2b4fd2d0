import { Digest, Entropy } from "@valetkey/domain/Entropy"
import { Effect, Layer, Redacted } from "effect"
import { generateKeyPairSync, hash, randomBytes } from "node:crypto"

/** Layer of the Entropy port over the system's generator. */
export const layer: Layer.Layer<Entropy> = Layer.succeed(
  Entropy,
  Entropy.of({
    secret: Effect.sync(() => Redacted.make(randomBytes(32).toString("base64url"))),
    signingKey: Effect.sync(() => newSigningKey()),
    id: Effect.clockWith((clock) => Effect.sync(() => uuidV7(clock.currentTimeMillisUnsafe()))),
    digest: (secret) => digestOf(Redacted.value(secret)),
    digestOf: (text) => digestOf(text)
  })
)

const digestOf = (text: string): Digest => Digest.make(hash("sha256", text, "base64url"))

/** Named by its thumbprint (RFC 7638 §3.2: these members in this order). */
const newSigningKey = (): Redacted.Redacted => {
  const jwk = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" })
  const kid = digestOf(JSON.stringify({ crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y }))
  return Redacted.make(JSON.stringify({ ...jwk, kid, alg: "ES256" }))
}

/** RFC 9562 §5.7: 48 bits of milliseconds, version and variant, 74 random bits. */
const uuidV7 = (millis: number): string => {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(millis, 0, 6)
  bytes[6] = (bytes[6]! & 0x0f) | 0x70
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  const hex = bytes.toString("hex")
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
