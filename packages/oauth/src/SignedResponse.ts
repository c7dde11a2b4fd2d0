import { ResponseError } from "@valetkey/domain/AuthorizationServer"
import type { ClaimedFlow } from "@valetkey/domain/FlowStore"
import { HttpUrl } from "@valetkey/domain/Server"
import { type SignedResponses, type SigningAlgorithm, signingAlgorithms } from "@valetkey/domain/SignedResponse"
import { findEgressError } from "@valetkey/egress/EgressFetch"
import { Effect, Redacted, Schema } from "effect"
import {
  allowInsecureRequests,
  AuthorizationResponseError,
  type AuthorizationServer,
  customFetch,
  KEY_SELECTION,
  UNSUPPORTED_OPERATION,
  validateJwtAuthResponse
} from "oauth4webapi"
import { isAcceptable } from "./internal/endpoints.ts"
import { type KeySet, KeysUnavailable } from "./internal/keySets.ts"
import type { Outbound } from "./internal/outbound.ts"
import type { IssuerMetadata } from "./IssuerMetadata.ts"

const isUrl = Schema.is(HttpUrl)
const isList = Schema.is(Schema.Array(Schema.String))

/**
 * What metadata offers of signed responses; undefined where it is nothing. What does not concern other servers is read
 * leniently, so that none of them is refused for it.
 *
 * @see JARM §2.3, §4
 */
export const offeredBy = (
  found: IssuerMetadata,
  resource: string
): SignedResponses | undefined => {
  const modes = found.response_modes_supported
  if (!isList(modes)) return undefined
  const mode = (["query.jwt", "jwt"] as const).find((one) => modes.includes(one))
  if (mode === undefined) return undefined
  const named = found.authorization_signing_alg_values_supported
  const supported: ReadonlyArray<string> = isList(named) ? named : ["RS256"]
  const { issuer, jwks_uri: jwksUri } = found
  return {
    mode,
    alone: !modes.includes("query"),
    ...(isUrl(jwksUri) && isAcceptable(jwksUri, resource, issuer) ? { jwksUri } : {}),
    algorithms: signingAlgorithms.filter((algorithm) => supported.includes(algorithm))
  }
}

/** The algorithm to register for; undefined where none of those that are offered can be verified. */
export const algorithmFor = (offered: SignedResponses | undefined): SigningAlgorithm | undefined =>
  offered?.algorithms[0]

/**
 * Verifies a signed response by what was frozen at start, in one place with its time, issuer, audience and state. The keys
 * come from where the metadata said then, through the guarded client.
 *
 * @see JARM §2.4, RFC 8725 §3.1
 */
export const verify = (
  outbound: Outbound,
  { authorization: { grant, snapshot } }: ClaimedFlow,
  { state, token }: { readonly token: Redacted.Redacted; readonly state: Redacted.Redacted }
): Effect.Effect<URLSearchParams, ResponseError> => {
  const { signedResponse } = snapshot
  if (signedResponse === undefined) return Effect.fail(new ResponseError({ code: "response_untrusted" }))
  const { algorithms, jwksUri } = signedResponse
  const origin = grant.resource ?? grant.tokenEndpoint
  const place = { jwksUri, origin }
  const parameters = new URLSearchParams({ response: Redacted.value(token) })
  /** The checks by the keys that `take` gives, which is asked last: what fails before it costs no key. */
  const check = <E>(take: Effect.Effect<KeySet, E>) =>
    Effect.flatMap(Effect.context<never>(), (context) => {
      // The library keeps what it is given with the server, so that no other look at the keys shares this one.
      const as: AuthorizationServer = {
        issuer: grant.issuer,
        jwks_uri: jwksUri,
        authorization_signing_alg_values_supported: [...algorithms]
      }
      return Effect.tryPromise({
        try: (signal) =>
          validateJwtAuthResponse(as, { client_id: grant.clientId }, parameters, Redacted.value(state), {
            [allowInsecureRequests]: new URL(jwksUri).protocol === "http:",
            [customFetch]: async () => Response.json((await Effect.runPromiseWith(context)(take, { signal })).jwks)
          }),
        catch: (thrown) => thrown
      })
    })
  return Effect.suspend(() => {
    let used: KeySet | undefined
    const known = Effect.tap(outbound.keySets.current(place), (set) => Effect.sync(() => used = set))
    return Effect.catchIf(
      check(known),
      (thrown) => used !== undefined && lacksKey(thrown),
      (thrown) =>
        Effect.flatMap(
          outbound.keySets.newer(place, used!),
          (set) => set === used ? Effect.fail(thrown) : check(Effect.succeed(set))
        )
    )
  }).pipe(
    // It is thrown after everything else has been checked.
    Effect.catchIf((thrown) => thrown instanceof AuthorizationResponseError, ({ cause }) => Effect.succeed(cause)),
    Effect.mapError(failureOf)
  )
}

/** What oauth4webapi throws, as far as it says which check failed: what else it holds is of the response. */
interface Thrown {
  readonly code?: unknown
  readonly message?: unknown
  readonly cause?: Readonly<Record<string, unknown>> | undefined
}

const lacksKey = (thrown: unknown): boolean => {
  const { cause, code } = thrown as Thrown
  return code === KEY_SELECTION && Array.isArray(cause?.["candidates"]) && cause["candidates"].length === 0
}

/** Says which check failed; what oauth4webapi throws holds the response, and is told to nobody. */
const failureOf = (thrown: unknown): ResponseError => {
  const cause = thrown instanceof KeysUnavailable ? thrown : findEgressError(thrown)
  return cause === undefined
    ? new ResponseError({
      code: "response_untrusted",
      cause: new Error(`The signed response fails a check: ${checkOf(thrown)}`)
    })
    : new ResponseError({ code: "authorization_server_unavailable", cause })
}

/** The check that failed, in words that are written here. */
const checkOf = (thrown: unknown): string => {
  if (thrown instanceof DOMException) return "its key is none that can be used"
  const { cause, code, message } = thrown as Thrown
  if (code === KEY_SELECTION) return lacksKey(thrown) ? "no key of this name and algorithm" : "several keys fit"
  const claim = /^(?:unexpected )?JWT "(aud|exp|iat|iss|nbf)" /.exec(String(message))?.[1]
  if (claim !== undefined) return `its claim ${claim}`
  const has = (member: string) => typeof cause === "object" && Object.hasOwn(cause, member)
  if (has("signature")) return "its signature"
  if (has("reason") || has("alg")) return "its algorithm"
  if (has("parameters")) return "its state"
  if (code !== UNSUPPORTED_OPERATION) return "its form"
  if (has("header")) return "an extension"
  return cause === undefined ? "tokens that were not asked for" : "its encryption"
}
