import { publicKeyOf } from "@valetkey/domain/SigningKey"
import { Redacted } from "effect"
import { hash } from "node:crypto"
import {
  allowInsecureRequests,
  customFetch,
  DPoP,
  type DPoPHandle,
  modifyAssertion,
  protectedResourceRequest
} from "oauth4webapi"

/** How many servers' nonces are remembered; a forgotten one costs a request. */
const capacity = 1000

/** Proofs of possession, with the nonces that servers asked for: one for each origin, whosever key signs (RFC 9449 §8.2). */
export interface Proofs {
  /** What oauth4webapi signs the requests of a key with. */
  handle(proofKey: Redacted.Redacted): Promise<DPoPHandle>
  /** The headers of a request to a resource (RFC 9449 §7.1). A nonce that is given goes before the one that is remembered. */
  headers(request: {
    readonly accessToken: Redacted.Redacted
    readonly proofKey: Redacted.Redacted
    readonly method: string
    readonly url: URL
    readonly nonce?: string | undefined
  }): Promise<{ readonly authorization: Redacted.Redacted; readonly dpop: Redacted.Redacted }>
  /** Remembers the nonce of an answer; true when it is another one than before. */
  note(origin: string, nonce: string | null | undefined): boolean
}

/** Makes the proofs of one process. A replica that knows no nonce is told it by the server, at the price of a request. */
export const makeProofs = (): Proofs => {
  const nonces = new Map<string, string>()

  const handleOf = async (proofKey: Redacted.Redacted, nonceOf: (htu: string) => string | undefined) =>
    DPoP({}, await keyPairOf(proofKey), {
      [modifyAssertion]: (_header, payload) => {
        const nonce = nonceOf(String(payload["htu"]))
        if (nonce !== undefined) payload["nonce"] = nonce
      }
    })

  const remembered = (htu: string) => nonces.get(new URL(htu).origin)

  return {
    handle: (proofKey) => handleOf(proofKey, remembered),
    headers: async ({ accessToken, method, nonce, proofKey, url }) => {
      const handle = await handleOf(proofKey, nonce === undefined ? remembered : () => nonce)
      const signed: Array<Headers> = []
      // The request itself is for the guarded client, or for the one who holds the token: here it is only signed.
      await protectedResourceRequest(Redacted.value(accessToken), method, url, new Headers(), null, {
        DPoP: handle,
        [allowInsecureRequests]: url.protocol === "http:",
        [customFetch]: async (_url, { headers }) => {
          signed.push(new Headers(headers))
          return new Response(null)
        }
      })
      const read = (name: string) => Redacted.make(signed[0]?.get(name) ?? "")
      return { authorization: read("authorization"), dpop: read("dpop") }
    },
    note: (origin, nonce) => {
      if (nonce === null || nonce === undefined || !isNonce(nonce) || nonces.get(origin) === nonce) return false
      nonces.delete(origin)
      if (nonces.size >= capacity) nonces.delete(nonces.keys().next().value!)
      nonces.set(origin, nonce)
      return true
    }
  }
}

/** The thumbprint that a token is bound to (RFC 9449 §10, RFC 7638 §3.2); undefined for what is no key of ours. */
export const thumbprintOf = (proofKey: Redacted.Redacted): string | undefined => {
  const key = publicKeyOf(proofKey)
  if (key?.kty !== "EC") return undefined
  const { crv, kty, x, y } = key
  return hash("sha256", JSON.stringify({ crv, kty, x, y }), "base64url")
}

/** RFC 9449 §8.1. */
const isNonce = (text: string): boolean => /^[\x21\x23-\x5B\x5D-\x7E]{1,1024}$/.test(text)

const algorithm = { name: "ECDSA", namedCurve: "P-256" }

const keyPairOf = async (proofKey: Redacted.Redacted): Promise<CryptoKeyPair> => {
  const { crv, d, kty, x, y } = JSON.parse(Redacted.value(proofKey)) as Required<JsonWebKey>
  const [privateKey, publicKey] = await Promise.all([
    crypto.subtle.importKey("jwk", { crv, d, kty, x, y }, algorithm, false, ["sign"]),
    crypto.subtle.importKey("jwk", { crv, kty, x, y }, algorithm, true, ["verify"])
  ])
  return { privateKey, publicKey }
}
