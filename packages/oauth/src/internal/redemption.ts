import type { Account } from "@valetkey/domain/Account"
import { RedemptionError, RedemptionFailure } from "@valetkey/domain/AuthorizationServer"
import type { Grant } from "@valetkey/domain/Connection"
import type { Credentials } from "@valetkey/domain/Credentials"
import * as Instruments from "@valetkey/domain/Instruments"
import { findEgressError } from "@valetkey/egress/EgressFetch"
import { Clock, DateTime, Effect, Metric, type Redacted } from "effect"
import {
  type AuthorizationServer,
  type Client,
  type ClientAuth,
  type DPoPHandle,
  getValidatedIdTokenClaims,
  type TokenEndpointRequestOptions,
  type TokenEndpointResponse
} from "oauth4webapi"
import { ofAnswer, ofEgress, unknownOutcome } from "../Classification.ts"
import * as IdToken from "../IdToken.ts"
import { errorOf, hasIdToken, normalize, read, toCredentials, type TokenAnswer, unwrap } from "../TokenResponse.ts"
import { clientAuthentication } from "./clientAuthentication.ts"
import { type Outbound, requestOptions } from "./outbound.ts"

/** The two halves that differ between grants, as oauth4webapi splits them. */
export interface Redemption<Other = never> {
  request(
    as: AuthorizationServer,
    client: Client,
    auth: ClientAuth,
    options: TokenEndpointRequestOptions
  ): Promise<Response>
  process(
    as: AuthorizationServer,
    client: Client,
    response: Response,
    hasIdToken: boolean
  ): Promise<TokenEndpointResponse>
  /** The key whose possession the request proves (RFC 9449 §5). */
  readonly proofKey?: Redacted.Redacted | undefined
  /** What becomes of an ID token: checked by `process`, read for what it claims, or dropped, which is the default. */
  readonly idToken?: "checked" | "claimed" | undefined
  /** What to keep of a success without a usable access token. */
  salvage?(answer: TokenAnswer, issuedAt: DateTime.Utc): Credentials | undefined
  /** What an error code of this grant's own means; undefined for every other. */
  refusal?(error: string, answer: TokenAnswer): Other | undefined
}

/** What a token request was answered with, and for whom. */
export interface Posted {
  readonly as: AuthorizationServer
  readonly client: Client
  readonly answer: TokenAnswer
}

/**
 * Posts one token request, at most once, and reads the answer, whatever it says. A server that wants its nonce in the proof
 * has looked at nothing else, and is asked again with it, once (RFC 9449 §8).
 */
export const post = (
  outbound: Outbound,
  grant: Grant,
  clientSecret: Redacted.Redacted | undefined,
  request: Redemption["request"],
  proofKey?: Redacted.Redacted
): Effect.Effect<Posted, RedemptionError> =>
  Effect.gen(function*() {
    const auth = yield* clientAuthentication(grant.authMethod, clientSecret)
    if (auth === undefined) {
      return yield* new RedemptionError({
        reason: RedemptionFailure.cases.Configuration.make({ error: "invalid_client" }),
        cause: new Error("The client authenticates with a secret and none is known; nothing was sent")
      })
    }
    const as: AuthorizationServer = {
      issuer: grant.issuer,
      token_endpoint: grant.tokenEndpoint,
      id_token_signing_alg_values_supported: [...IdToken.signingAlgorithms]
    }
    const client: Client = { client_id: grant.clientId }
    const handle = yield* handleOf(outbound, proofKey)
    const { origin } = new URL(grant.tokenEndpoint)
    const ask = Effect.tryPromise({
      try: async (signal) => {
        const response = await request(as, client, auth, {
          ...requestOptions({
            egress: outbound.egress,
            endpoint: grant.tokenEndpoint,
            origin: grant.resource ?? grant.tokenEndpoint,
            deadline: outbound.token,
            signal,
            body: grant.dialect?.requestBody
          }),
          ...(handle === undefined ? {} : { DPoP: handle }),
          ...(grant.resource === undefined ? {} : { additionalParameters: { resource: grant.resource } })
        })
        if (handle !== undefined) outbound.proofs.note(origin, response.headers.get("dpop-nonce"))
        return unwrap(await read(response), grant.dialect)
      },
      catch: unanswered
    })
    const first = yield* ask
    const answer = handle !== undefined && errorOf(first) === "use_dpop_nonce" ? yield* ask : first
    yield* noteSkew(answer.date)
    return { as, client, answer }
  })

/** The error of an answer that grants nothing that can be used. */
export const refusedBy = (answer: TokenAnswer): Effect.Effect<never, RedemptionError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Effect.fail(
      new RedemptionError({
        reason: ofAnswer(answer, now),
        cause: new Error(`The token endpoint answered with status ${answer.status}`)
      })
    ))

/** Posts one token request, at most once, and turns whatever comes of it into credentials or a class of failure. */
export const redeem = <Other = never>(
  outbound: Outbound,
  grant: Grant,
  clientSecret: Redacted.Redacted | undefined,
  { idToken, process, proofKey, refusal, request, salvage }: Redemption<Other>
): Effect.Effect<Credentials | Other, RedemptionError> =>
  Effect.gen(function*() {
    const issuedAt = yield* DateTime.now
    const { answer, as, client } = yield* post(outbound, grant, clientSecret, request, proofKey)
    const kept = proofKey === undefined ? {} : { proofKey }
    const error = errorOf(answer)
    const meaning = error === undefined ? undefined : refusal?.(error, answer)
    if (meaning !== undefined) return meaning
    const isSuccess = answer.status < 300 && error === undefined
    const isIdentity = grant.keeps === "id_token"
    const isChecked = (idToken === "checked" || isIdentity) && hasIdToken(answer)
    const claimed = idToken === "claimed" ? accountIn(IdToken.claimedAccount(answer.members?.["id_token"])) : {}
    const strict = isSuccess ? normalize(answer, { idToken: isChecked, bound: proofKey !== undefined }) : undefined
    if (strict === undefined) {
      const saved = isSuccess ? salvage?.(answer, issuedAt) : undefined
      if (saved !== undefined) return { ...saved, ...claimed, ...kept }
      return yield* refusedBy(answer)
    }
    const accepted = yield* Effect.tryPromise({
      try: () => process(as, client, strict, isChecked),
      // What oauth4webapi throws holds the body, and with it the tokens.
      catch: isChecked ? untrusted : unusable
    })
    const credentials = toCredentials(accepted, issuedAt, grant.dialect)
    const claims = isChecked ? getValidatedIdTokenClaims(accepted)! : undefined
    // A refresh may leave it out and be asked again; a consent that brought none is of no use.
    if (isIdentity && claims === undefined && idToken !== "claimed") return yield* untrusted({ code: "missing" })
    const checked = claims === undefined ? {} : accountIn(IdToken.accountOf(claims))
    return {
      ...credentials,
      ...(isIdentity ? IdToken.inPlaceOfAccess(accepted.id_token, claims, issuedAt) : {}),
      ...claimed,
      ...checked,
      ...kept
    }
  })

/** What signs the proofs of a key. */
const handleOf = (
  { proofs }: Outbound,
  proofKey: Redacted.Redacted | undefined
): Effect.Effect<DPoPHandle | undefined, RedemptionError> =>
  proofKey === undefined ? Effect.undefined : Effect.tryPromise({
    try: () => proofs.handle(proofKey),
    // What the platform throws may hold the key.
    catch: () =>
      new RedemptionError({
        reason: RedemptionFailure.cases.Configuration.make({ error: "invalid_dpop_proof" }),
        cause: new Error("The key of the connection cannot sign; nothing was sent")
      })
  })

const accountIn = (account: Account | undefined) => account === undefined ? {} : { account }

/** Lifetimes are counted from our own clock, so a skew harms nothing; but it tells an operator which clock to set. */
const noteSkew = (date: string | undefined): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const theirs = Date.parse(date ?? "")
    return Number.isNaN(theirs)
      ? Effect.void
      : Metric.update(Instruments.providerClockSkew, Math.abs(theirs - now) / 1000)
  })

const unanswered = (thrown: unknown): RedemptionError => {
  const error = findEgressError(thrown)
  return error === undefined
    ? unusable()
    : new RedemptionError({ reason: ofEgress(error), cause: error })
}

/** Says which check failed; what was found there is told to nobody. */
const untrusted = (thrown: unknown): RedemptionError => {
  const { cause, code } = thrown as { readonly code?: unknown; readonly cause?: { readonly claim?: unknown } }
  const check = [code, cause?.claim].filter((part) => typeof part === "string" && /^\w{1,64}$/.test(part)).join(" ")
  return new RedemptionError({
    reason: RedemptionFailure.cases.UntrustedIdToken.make({}),
    cause: new Error(`The ID token fails a check: ${check === "" ? "its form" : check}`)
  })
}

const unusable = (): RedemptionError =>
  new RedemptionError({
    reason: unknownOutcome,
    cause: new Error("The token endpoint's answer holds no usable credentials")
  })
