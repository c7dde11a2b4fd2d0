import { readBearer } from "@valetkey/client/BearerChallenge"
import { CallbackAccepted, CallbackReceived } from "@valetkey/domain/Authorization"
import { AuthorizationServer, AuthorizationServerMetadata } from "@valetkey/domain/AuthorizationServer"
import * as CallbackUrl from "@valetkey/domain/CallbackUrl"
import { ConnectionKey, type Grant } from "@valetkey/domain/Connection"
import type { Credentials } from "@valetkey/domain/Credentials"
import { Digest } from "@valetkey/domain/Entropy"
import { FlowId } from "@valetkey/domain/Flow"
import type { ClaimedFlow } from "@valetkey/domain/FlowStore"
import { Sealed } from "@valetkey/domain/Sealed"
import { Server, ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import * as OAuth from "@valetkey/oauth/OAuth"
import { DateTime, Duration, Effect, Layer, Redacted, Result, Schema } from "effect"
import fc from "fast-check"
import { generateKeyPairSync } from "node:crypto"
import * as Inputs from "./Inputs.ts"
import * as ScriptedEgress from "./ScriptedEgress.ts"

/** One reader of what others send: its inputs, and one reading, which ends in a value or a typed error and in nothing else. */
export interface Reader<A> {
  readonly name: string
  readonly inputs: fc.Arbitrary<A>
  /** Rejects or dies of an exception that nobody declared, and of a value that may not be. */
  readonly read: (input: A) => Promise<unknown>
}

const resource = "https://mcp.example/mcp"
const issuer = "https://as.example"
const redirectUri = "https://valetkey.example/cb"

const grant: Grant = {
  issuer,
  tokenEndpoint: `${issuer}/token`,
  revocationEndpoint: `${issuer}/revoke`,
  clientId: "client",
  authMethod: "none",
  resource,
  redemptionPolicy: "retry-once"
}

const metadata = AuthorizationServerMetadata.make({
  issuer,
  authorizationEndpoint: `${issuer}/authorize`,
  tokenEndpoint: `${issuer}/token`,
  registrationEndpoint: `${issuer}/register`,
  deviceAuthorizationEndpoint: `${issuer}/device`,
  issRequired: false,
  authMethods: ["none", "client_secret_basic"],
  resource
})

const key = new ConnectionKey({
  tenant: TenantId.make("acme"),
  subject: SubjectId.make("ada"),
  server: ServerSlug.make("notes")
})

const flow: ClaimedFlow = {
  id: FlowId.make("019ab000-0000-7000-8000-000000000001"),
  key,
  fence: 1,
  transport: "gateway",
  confirmation: "none",
  authorization: {
    snapshot: {
      authorizationEndpoint: `${issuer}/authorize`,
      redirectUri,
      issRequired: false,
      signedResponse: { jwksUri: `${issuer}/jwks`, algorithms: ["ES256"] },
      scopes: ["mcp:read"]
    },
    grant,
    stateHash: Digest.make("A".repeat(43)),
    context: "context",
    codeVerifier: Sealed.make(new Uint8Array(1))
  }
}

const accepted = CallbackAccepted.resume(flow, Redacted.make("code"))

const secret = Redacted.make("v".repeat(43))

/** A key of the name that the tokens give, so that their signature is what is left to fail. */
const keySet = JSON.stringify({
  keys: [{ ...generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "jwk" }), kid: "es" }]
})

/** Asks the authorization server of a script; what it fails with must be one of its declared errors, which `result` keeps. */
const asking = <A, E>(
  answer: Parameters<typeof ScriptedEgress.layer>[0],
  ask: (oauth: AuthorizationServer["Service"]) => Effect.Effect<A, E>
): Promise<Result.Result<A, E>> =>
  AuthorizationServer.use(ask).pipe(
    Effect.result,
    Effect.provide(OAuth.layer.pipe(Layer.provide(ScriptedEgress.layer(answer)))),
    Effect.runPromise
  )

const answers = (body: fc.Arbitrary<string>) => fc.record({ head: Inputs.head, body })

const must = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(what)
}

const headerSafe = /^[\x20-\x7e]+$/

/** What may stand in a row and in a header. */
const sound = ({ accessToken, expiresAt, issuedAt, refreshToken, scopes }: Credentials): void => {
  const token = Redacted.value(accessToken)
  must(token === "" ? refreshToken !== undefined : headerSafe.test(token), "an access token that no header takes")
  must(refreshToken === undefined || headerSafe.test(Redacted.value(refreshToken)), "a refresh token of other bytes")
  must(scopes === undefined || scopes.every((scope) => /^[\x21-\x7e]+$/.test(scope)), "a scope that is none")
  must(
    expiresAt === undefined || Duration.toDays(DateTime.distance(issuedAt, expiresAt)) <= 400,
    "an expiry beyond belief"
  )
}

const https = (url: string | undefined): boolean => url === undefined || new URL(url).protocol === "https:"

const reader = <A>(name: string, inputs: fc.Arbitrary<A>, read: (input: A) => Promise<unknown>): Reader<unknown> => ({
  name,
  inputs,
  read: (input) => read(input as A)
})

/** Every reader of what an authorization server, a resource or a browser sends. */
export const all: ReadonlyArray<Reader<unknown>> = [
  reader("the challenge of a resource, as a client reads it", Inputs.challenge, async (header) => {
    const challenge = readBearer(header)
    must(challenge === undefined || challenge.scopes.every((scope) => /^\S+$/.test(scope)), "a scope that is none")
  }),
  reader("an authorization response", Inputs.query, async (query) => {
    const received = CallbackReceived.parse(new URLSearchParams(query))
    must(Result.isFailure(received) || Redacted.value(received.success.state) !== "", "a response without state")
    must(Result.isFailure(received) || !received.success.isVerified, "a response that nobody verified")
  }),
  reader("a signed authorization response", Inputs.signedResponse, async (token) => {
    const received = CallbackReceived.parse(new URLSearchParams({ response: token }))
    if (Result.isFailure(received)) return
    const { code, error, iss, state } = received.success
    must([code, error, iss].every((claim) => claim === undefined), "a claim before the signature is looked at")
    const verified = await asking(
      () => ({ status: 200, headers: { "content-type": "application/json" }, body: keySet }),
      (oauth) => oauth.verifyResponse(flow, { token: Redacted.make(token), state })
    )
    must(Result.isFailure(verified), "a response that nobody signed")
  }),
  reader(
    "an address that a person pasted",
    Inputs.query,
    async (query) => CallbackUrl.read(Redacted.make(`${redirectUri}?${query}`), redirectUri)
  ),
  reader(
    "metadata of a resource and of its authorization server",
    fc.record({
      challenge: Inputs.challenge,
      head: Inputs.head,
      resource: Inputs.resourceMetadata,
      server: Inputs.serverMetadata
    }),
    async (input) => {
      const found = await asking(({ url }) => {
        const { pathname } = new URL(url)
        if (pathname === "/mcp") {
          // What no header can hold never arrives.
          const header = input.challenge.replaceAll(/[^\t\x20-\x7e]/g, "").trim()
          return { status: 401, headers: { "www-authenticate": header }, body: "" }
        }
        const body = pathname.includes("oauth-protected-resource") ? input.resource : input.server
        return { ...input.head, body }
      }, (oauth) => oauth.discover(new Server({ tenant: key.tenant, slug: key.server, resource, quirks: {} })))
      if (Result.isFailure(found)) return
      const { authorizationEndpoint, registrationEndpoint, revocationEndpoint, tokenEndpoint } = Schema
        .decodeUnknownSync(AuthorizationServerMetadata)(found.success)
      for (const endpoint of [authorizationEndpoint, tokenEndpoint, registrationEndpoint, revocationEndpoint]) {
        must(https(endpoint), "an endpoint in the clear")
      }
    }
  ),
  reader("an answer to a registration", answers(Inputs.registration), async ({ body, head }) => {
    const client = await asking(
      () => ({ ...head, body }),
      (oauth) => oauth.register(metadata, { redirectUri, transport: "gateway", scopes: ["mcp:read"] })
    )
    must(Result.isFailure(client) || client.success.clientId !== "", "a client without an id")
  }),
  reader("an answer to a device", answers(Inputs.deviceAuthorization), async ({ body, head }) => {
    const device = await asking(() => ({ ...head, body }), (oauth) =>
      oauth.authorizeDevice(metadata, {
        clientId: "client",
        authMethod: "none",
        clientSecret: undefined,
        scopes: ["mcp:read"],
        resource
      }))
    must(Result.isFailure(device) || URL.canParse(device.success.verificationUri), "a page that is none")
  }),
  reader("an answer to a code", answers(Inputs.tokenAnswer), async ({ body, head }) => {
    const credentials = await asking(
      () => ({ ...head, body }),
      (oauth) => oauth.exchange(accepted, { codeVerifier: secret, clientSecret: undefined, nonce: secret })
    )
    if (Result.isSuccess(credentials)) sound(credentials.success)
  }),
  reader("an answer to a refresh token", answers(Inputs.tokenAnswer), async ({ body, head }) => {
    const credentials = await asking(
      () => ({ ...head, body }),
      (oauth) => oauth.refresh(grant, { refreshToken: secret, clientSecret: undefined })
    )
    if (Result.isSuccess(credentials)) sound(credentials.success)
  }),
  reader(
    "an answer to a revocation",
    answers(Inputs.tokenAnswer),
    ({ body, head }) =>
      asking(
        () => ({ ...head, body }),
        (oauth) => oauth.revoke(grant, { token: secret, hint: "refresh_token", clientSecret: undefined })
      )
  )
]
