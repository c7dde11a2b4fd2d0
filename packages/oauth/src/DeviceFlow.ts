import {
  type AuthorizationServerMetadata,
  DiscoveryError,
  type RedemptionError
} from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import type {
  DeviceAnswer,
  DeviceAuthorization,
  DeviceAuthorizationRequest
} from "@valetkey/domain/DeviceAuthorization"
import { HttpUrl } from "@valetkey/domain/Server"
import { Duration, Effect, Redacted, Schema } from "effect"
import {
  type AuthorizationServer,
  deviceAuthorizationRequest,
  deviceCodeGrantRequest,
  getValidatedIdTokenClaims,
  processDeviceAuthorizationResponse,
  processDeviceCodeResponse
} from "oauth4webapi"
import { isAccountId } from "./IdToken.ts"
import { ask, failureOf } from "./internal/asking.ts"
import { clientAuthentication } from "./internal/clientAuthentication.ts"
import { isAcceptable } from "./internal/endpoints.ts"
import type { Outbound } from "./internal/outbound.ts"
import { redeem } from "./internal/redemption.ts"
import { read, type TokenAnswer } from "./TokenResponse.ts"

/**
 * Asks for a device code and a user code.
 *
 * @see RFC 8628 §3.1, §3.2, RFC 8707 §2
 */
export const authorize = (
  outbound: Outbound,
  metadata: AuthorizationServerMetadata,
  { authMethod, clientId, clientSecret, resource, scopes }: DeviceAuthorizationRequest
): Effect.Effect<DeviceAuthorization, DiscoveryError> =>
  Effect.gen(function*() {
    const endpoint = metadata.deviceAuthorizationEndpoint
    if (endpoint === undefined) return yield* new DiscoveryError({ code: "device_unsupported" })
    const auth = yield* clientAuthentication(authMethod, clientSecret)
    if (auth === undefined) return yield* new DiscoveryError({ code: "client_secret_missing" })
    const as: AuthorizationServer = { issuer: metadata.issuer, device_authorization_endpoint: endpoint }
    const client = { client_id: clientId }
    const parameters = new URLSearchParams()
    if (scopes.length > 0) parameters.set("scope", scopes.join(" "))
    if (resource !== undefined) parameters.set("resource", resource)
    const answer = yield* ask(outbound, { endpoint, origin: metadata.resource, refused }, async (options) => {
      const response = await accepted(await deviceAuthorizationRequest(as, client, auth, parameters, options))
      return processDeviceAuthorizationResponse(as, client, response)
    })
    return yield* Effect.mapError(
      Effect.map(decode(answer), (answer) => authorizationOf(answer, metadata.resource, endpoint)),
      () => refused
    ).pipe(Effect.filterOrFail((found) => found !== undefined, () => refused))
  })

/**
 * Asks once what became of a device code.
 *
 * @see RFC 8628 §3.4, §3.5
 */
export const poll = (
  outbound: Outbound,
  grant: Grant,
  { clientSecret, deviceCode, openid, proofKey }: {
    readonly deviceCode: Redacted.Redacted
    readonly clientSecret: Redacted.Redacted | undefined
    readonly proofKey?: Redacted.Redacted | undefined
    readonly openid?: boolean | undefined
  }
): Effect.Effect<DeviceAnswer, RedemptionError> =>
  Effect.map(
    redeem<Exclude<DeviceAnswer, { readonly _tag: "Granted" }>>(outbound, grant, clientSecret, {
      request: (as, client, auth, options) =>
        deviceCodeGrantRequest(as, client, auth, Redacted.value(deviceCode), options),
      proofKey,
      idToken: openid === true ? "checked" : undefined,
      process: async (as, client, response, hasIdToken) => {
        const answer = await processDeviceCodeResponse(as, client, response)
        if (hasIdToken && !isAccountId(getValidatedIdTokenClaims(answer)!.sub)) throw new Error("sub")
        return answer
      },
      refusal
    }),
    (answer) => "_tag" in answer ? answer : { _tag: "Granted", credentials: answer }
  )

/** The error codes that are no end of it, and the two that are. */
const refusal = (error: string, answer: TokenAnswer) => {
  switch (error) {
    case "authorization_pending":
      return { _tag: "Pending" } as const
    case "slow_down": {
      const interval = Number(answer.members?.["interval"])
      return {
        _tag: "SlowDown",
        interval: interval > 0 ? Duration.seconds(Math.min(interval, longestInterval)) : undefined
      } as const
    }
    case "access_denied":
    // Microsoft Entra
    case "authorization_declined":
      return { _tag: "Denied" } as const
    case "expired_token":
      return { _tag: "Expired" } as const
    default:
      return undefined
  }
}

const UserCode = Schema.String.check(Schema.isPattern(/^[\x21-\x7E](?:[\x20-\x7E]{0,62}[\x21-\x7E])?$/, {
  expected: "a code that a person can type"
}))

const DeviceResponse = Schema.Struct({
  device_code: Schema.String.check(Schema.isPattern(/^[\x20-\x7E]{1,4096}$/)),
  user_code: UserCode,
  verification_uri: HttpUrl,
  verification_uri_complete: Schema.optionalKey(Schema.String),
  expires_in: Schema.Finite,
  interval: Schema.optionalKey(Schema.Finite)
})

const decode = Schema.decodeUnknownEffect(DeviceResponse)

/** Seconds; longer lives and pauses than these are not believed. */
const longestLife = 24 * 60 * 60
const longestInterval = 10 * 60
/** RFC 8628 §3.5. */
const defaultInterval = 5

/** What can be shown: undefined when the person would be sent where metadata may send nobody. */
const authorizationOf = (
  answer: typeof DeviceResponse.Type,
  resource: string,
  endpoint: string
): DeviceAuthorization | undefined => {
  const { device_code, expires_in, interval, user_code, verification_uri, verification_uri_complete } = answer
  if (!isAcceptable(verification_uri, resource, endpoint)) return undefined
  // The host that is shown is the host where the person ends: a link to another one is left out.
  const complete = verification_uri_complete !== undefined && isUrl(verification_uri_complete) &&
      new URL(verification_uri_complete).origin === new URL(verification_uri).origin
    ? Redacted.make(verification_uri_complete)
    : undefined
  return {
    deviceCode: Redacted.make(device_code),
    userCode: Redacted.make(user_code),
    verificationUri: verification_uri,
    verificationUriComplete: complete,
    expiresIn: Duration.seconds(Math.min(expires_in, longestLife)),
    interval: Duration.seconds(
      interval !== undefined && interval > 0 ? Math.min(interval, longestInterval) : defaultInterval
    )
  }
}

const isUrl = Schema.is(HttpUrl)

/** The answer as oauth4webapi wants it: 200, and the URL by its name in the RFC, not by that of its drafts (Google). */
const accepted = async (response: Response): Promise<Response> => {
  const { members, status } = await read(response)
  if (status !== 200 || members === undefined || members["error"] !== undefined) throw failureOf(status, refused)
  const { interval, verification_url, ...rest } = members
  return Response.json({
    ...(verification_url === undefined ? {} : { verification_uri: verification_url }),
    ...rest,
    ...(typeof interval === "number" ? { interval } : Number(interval) > 0 ? { interval: Number(interval) } : {})
  })
}

const refused = new DiscoveryError({ code: "device_refused" })
