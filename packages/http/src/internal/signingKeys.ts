import { ApiProblem } from "@valetkey/api/ApiProblem"
import { publicKeyOf } from "@valetkey/domain/SigningKey"
import { Effect, Redacted } from "effect"
import { createPrivateKey, createPublicKey, type JsonWebKeyInput, sign, verify } from "node:crypto"

/**
 * Fails unless a private key signs what its public half verifies. The form of a key does not tell whether its numbers belong
 * together, and one that is kept without would fail each of its uses.
 */
export const tryKey = (
  path: ReadonlyArray<string>,
  key: Redacted.Redacted | undefined
): Effect.Effect<void, ApiProblem> =>
  Effect.suspend(() =>
    key === undefined || signs(key)
      ? Effect.void
      : Effect.fail(ApiProblem.of("invalid_request", "A private key does not sign; send the whole key as it was made", {
        errors: [{ path: ["payload", ...path], message: "expected a private key that goes with its public half" }]
      }))
  )

const signs = (key: Redacted.Redacted): boolean => {
  const publicKey = publicKeyOf(key)
  if (publicKey === undefined) return false
  const digest = publicKey.kty === "OKP" ? null : "sha256"
  try {
    const jwk = JSON.parse(Redacted.value(key)) as JsonWebKeyInput["key"]
    const signature = sign(digest, trial, createPrivateKey({ key: jwk, format: "jwk" }))
    return verify(digest, trial, createPublicKey({ key: { ...publicKey }, format: "jwk" }), signature)
    // What the platform throws may hold the key.
  } catch {
    return false
  }
}

const trial = Buffer.from("trial")
