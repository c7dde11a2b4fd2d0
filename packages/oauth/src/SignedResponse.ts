import { ResponseError } from "@valetkey/domain/AuthorizationServer"
import type { ClaimedFlow } from "@valetkey/domain/FlowStore"
import { HttpUrl } from "@valetkey/domain/Server"
import { type SignedResponses, type SigningAlgorithm, signingAlgorithms } from "@valetkey/domain/SignedResponse"
import { trustOf } from "@valetkey/egress/AddressPolicy"
import { findEgressError } from "@valetkey/egress/EgressFetch"
import { Effect, Redacted, Schema } from "effect"
import {
  AuthorizationResponseError,
  type AuthorizationServer,
  customFetch,
  jwksCache,
  validateJwtAuthResponse
} from "oauth4webapi"
import { isAcceptable } from "./internal/endpoints.ts"
import { KeysUnavailable, maxKeySet } from "./internal/keySets.ts"
import { type Outbound, requestOptions } from "./internal/outbound.ts"
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
  const as: AuthorizationServer = {
    issuer: grant.issuer,
    jwks_uri: jwksUri,
    authorization_signing_alg_values_supported: [...algorithms]
  }
  return Effect.tryPromise({
    try: async (signal) => {
      const { [customFetch]: fetchKeys, ...options } = requestOptions({
        egress: outbound.egress,
        endpoint: jwksUri,
        origin,
        deadline: outbound.discovery,
        maxBytes: maxKeySet,
        signal
      })
      const parameters = new URLSearchParams({ response: Redacted.value(token) })
      try {
        return await validateJwtAuthResponse(as, { client_id: grant.clientId }, parameters, Redacted.value(state), {
          ...options,
          [customFetch]: async (url, { headers }) => present(await fetchKeys(url, { headers, signal })),
          [jwksCache]: outbound.keySets.of(trustOf(origin), jwksUri)
        })
      } catch (thrown) {
        // It is thrown after everything else has been checked.
        if (thrown instanceof AuthorizationResponseError) return thrown.cause
        throw thrown
      }
    },
    catch: failureOf
  })
}

/** No key set says nothing of the response. */
const present = (response: Response): Response => {
  if (response.status !== 200) throw new KeysUnavailable(`The keys are answered with status ${response.status}`)
  return response
}

/** Says which check failed; what oauth4webapi throws holds the response, and is told to nobody. */
const failureOf = (thrown: unknown): ResponseError => {
  const cause = thrown instanceof KeysUnavailable ? thrown : findEgressError(thrown)
  if (cause !== undefined) return new ResponseError({ code: "authorization_server_unavailable", cause })
  const { cause: detail, code } = thrown as { readonly code?: unknown; readonly cause?: { readonly claim?: unknown } }
  const check = [code, detail?.claim].filter((part) => typeof part === "string" && /^\w{1,64}$/.test(part)).join(" ")
  return new ResponseError({
    code: "response_untrusted",
    cause: new Error(`The signed response fails a check: ${check === "" ? "its form" : check}`)
  })
}
