import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { Audit } from "@valetkey/domain/Audit"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { CallbackReceived } from "@valetkey/domain/Authorization"
import {
  type Authority,
  AuthorizationServer,
  type AuthorizationServerMetadata,
  type DiscoveryError,
  RedemptionError,
  type RedemptionFailure,
  ResponseError,
  type RevocationError
} from "@valetkey/domain/AuthorizationServer"
import type { TransportError } from "@valetkey/domain/CallbackTransport"
import { CallbackTransports, type OpenRequest } from "@valetkey/domain/CallbackTransport"
import { Cipher, CipherError } from "@valetkey/domain/Cipher"
import { ConnectionKey, type Grant } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import type { Credentials } from "@valetkey/domain/Credentials"
import type { DeviceAnswer } from "@valetkey/domain/DeviceAuthorization"
import { DevicePoller } from "@valetkey/domain/DevicePoller"
import { Fingerprints } from "@valetkey/domain/Fingerprints"
import type { FlowId } from "@valetkey/domain/Flow"
import { Flows } from "@valetkey/domain/Flows"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { Sealed } from "@valetkey/domain/Sealed"
import { ServerSlug } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import * as KeyRingStateTags from "@valetkey/keyring/KeyRingStateTags"
import * as KeySource from "@valetkey/keyring/KeySource"
import * as NodeEntropy from "@valetkey/keyring/NodeEntropy"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as Canary from "@valetkey/testing/Canary"
import { InjectionPoints } from "@valetkey/testing/InjectionPoints"
import { Clock, Context, DateTime, Duration, Effect, Layer, Redacted, Result } from "effect"
import { hash, randomBytes } from "node:crypto"

/** The provider as the domain sees it: counts what arrives and answers what the test scripts, or issues tokens. */
export class Provider extends Context.Service<Provider, {
  /** Requests by the fingerprintless value of the code or refresh token that they carried. */
  readonly redemptions: Map<string, number>
  readonly verifiers: Array<string>
  /** What was asked of an ID token, at the authorization endpoint and at the exchange in turn. */
  readonly nonces: Array<string | undefined>
  readonly revoked: Array<string>
  readonly registrations: Array<string>
  readonly exchanged: Array<{ readonly redirectUri: string; readonly codeVerifier: string }>
  readonly issued: Array<string>
  discovery: Effect.Effect<void, DiscoveryError>
  /** What the metadata says besides. */
  saying: Partial<AuthorizationServerMetadata>
  /** What a signed response turns out to say. */
  verify: (token: Redacted.Redacted) => Effect.Effect<URLSearchParams, ResponseError>
  exchange: (issue: Effect.Effect<Credentials>) => Effect.Effect<Credentials, RedemptionError>
  /** Requests of a client by its own authority. */
  readonly obtained: Array<Grant>
  readonly authorities: Array<Authority>
  obtain: (issue: Effect.Effect<Credentials>) => Effect.Effect<Credentials, RedemptionError>
  refresh: (issue: Effect.Effect<Credentials>, grant: Grant) => Effect.Effect<Credentials, RedemptionError>
  revocation: Effect.Effect<"confirmed" | "unsupported", RevocationError>
  /** Access tokens whose end was asked for, and what is said of it. */
  readonly introspected: Array<string>
  expiry: Effect.Effect<DateTime.Utc | undefined>
  /** Device codes that were given out, and when each was asked about, in milliseconds. */
  readonly devices: Array<string>
  readonly polls: Array<{ readonly deviceCode: string; readonly at: number }>
  device: (issue: Effect.Effect<Credentials>) => Effect.Effect<DeviceAnswer, RedemptionError>
  /** What every issued answer leaves out or changes. */
  answer: (credentials: Credentials) => Credentials
  lifetime: number
}>()("test/Provider") {
  static readonly layer = Layer.sync(Provider, () =>
    Provider.of({
      redemptions: new Map(),
      verifiers: [],
      nonces: [],
      revoked: [],
      registrations: [],
      exchanged: [],
      issued: [],
      discovery: Effect.void,
      saying: {},
      verify: () => Effect.fail(new ResponseError({ code: "response_untrusted" })),
      exchange: (issue) => issue,
      obtained: [],
      authorities: [],
      obtain: (issue) => issue,
      refresh: (issue) => issue,
      revocation: Effect.succeed("confirmed"),
      introspected: [],
      expiry: Effect.undefined,
      devices: [],
      polls: [],
      device: () => Effect.succeed({ _tag: "Pending" }),
      answer: (credentials) => credentials,
      lifetime: 3600
    }))
}

export const refuse = (reason: RedemptionFailure) => Effect.fail(new RedemptionError({ reason }))

const metadata: AuthorizationServerMetadata = {
  issuer: "https://as.example",
  authorizationEndpoint: "https://as.example/authorize",
  tokenEndpoint: "https://as.example/token",
  revocationEndpoint: "https://as.example/revoke",
  introspectionEndpoint: "https://as.example/introspect",
  registrationEndpoint: "https://as.example/register",
  deviceAuthorizationEndpoint: "https://as.example/device_authorization",
  issRequired: true,
  authMethods: ["none"],
  resource: "https://mcp.example/mcp"
}

const layerAuthorizationServer = Layer.effect(
  AuthorizationServer,
  Effect.gen(function*() {
    const provider = yield* Provider
    const issue = Effect.gen(function*() {
      const issuedAt = yield* DateTime.now
      const accessToken = Canary.make("access_token")
      const refreshToken = Canary.make("refresh_token")
      provider.issued.push(Redacted.value(accessToken))
      return provider.answer({
        accessToken,
        refreshToken,
        tokenType: "Bearer",
        scopes: ["read"],
        issuedAt,
        expiresAt: DateTime.add(issuedAt, { seconds: provider.lifetime })
      })
    })
    const count = (token: Redacted.Redacted) =>
      Effect.sync(() => {
        const value = Redacted.value(token)
        provider.redemptions.set(value, (provider.redemptions.get(value) ?? 0) + 1)
      })
    return AuthorizationServer.of({
      discover: () => Effect.suspend(() => Effect.as(provider.discovery, { ...metadata, ...provider.saying })),
      register: (_, input) =>
        Effect.sync(() => {
          provider.registrations.push(input.redirectUri ?? "device")
          return { clientId: `client-${provider.registrations.length}`, authMethod: "none" }
        }),
      push: ({ authorizationUrl }) => Effect.succeed(authorizationUrl),
      verifyResponse: (_, { token }) => Effect.suspend(() => provider.verify(token)),
      authorizationUrl: (request) =>
        Effect.sync(() => {
          const url = new URL(request.authorizationEndpoint)
          url.searchParams.set("state", Redacted.value(request.state))
          url.searchParams.set("redirect_uri", request.redirectUri)
          url.searchParams.set("scope", request.scopes.join(" "))
          if (request.responseMode !== undefined) url.searchParams.set("response_mode", request.responseMode)
          provider.verifiers.push(Redacted.value(request.codeVerifier))
          provider.nonces.push(request.nonce && Redacted.value(request.nonce))
          return Redacted.make(url.href)
        }),
      exchange: (accepted, secrets) =>
        Effect.gen(function*() {
          yield* count(accepted.code)
          provider.exchanged.push({
            redirectUri: accepted.flow.authorization.snapshot.redirectUri,
            codeVerifier: Redacted.value(secrets.codeVerifier)
          })
          provider.nonces.push(secrets.nonce && Redacted.value(secrets.nonce))
          return yield* provider.exchange(issue)
        }),
      authorizeDevice: () =>
        Effect.sync(() => {
          const deviceCode = Canary.make("device_code")
          provider.devices.push(Redacted.value(deviceCode))
          return {
            deviceCode,
            userCode: Canary.make("user_code"),
            verificationUri: "https://as.example/device",
            verificationUriComplete: undefined,
            expiresIn: Duration.minutes(30),
            interval: Duration.seconds(5)
          }
        }),
      poll: (_, { deviceCode }) =>
        Effect.gen(function*() {
          provider.polls.push({ deviceCode: Redacted.value(deviceCode), at: yield* Clock.currentTimeMillis })
          return yield* provider.device(issue)
        }),
      refresh: (grant, { refreshToken }) =>
        Effect.andThen(count(refreshToken), Effect.suspend(() => provider.refresh(issue, grant))),
      obtain: (grant, { authority }) =>
        Effect.suspend(() => {
          provider.obtained.push(grant)
          provider.authorities.push(authority)
          return provider.obtain(issue)
        }),
      expiryOf: (_, { accessToken }) =>
        Effect.suspend(() => {
          provider.introspected.push(Redacted.value(accessToken))
          return provider.expiry
        }),
      revoke: (_, { token }) =>
        Effect.suspend(() =>
          Effect.tap(provider.revocation, () => Effect.sync(() => provider.revoked.push(Redacted.value(token))))
        )
    })
  })
)

/** The key of the vault as the test holds it: present or not. */
export class Vault extends Context.Service<Vault, { locked: boolean }>()("test/Vault") {
  static readonly layer = Layer.sync(Vault, () => ({ locked: false }))
}

/** A cipher that hides nothing and forgives nothing: the context is compared byte for byte. */
const layerCipher = Layer.effect(
  Cipher,
  Effect.gen(function*() {
    const vault = yield* Vault
    const key = Effect.suspend(() =>
      vault.locked ? Effect.fail(new CipherError({ code: "encryption_key_missing" })) : Effect.void
    )
    return Cipher.of({
      seal: (context, plaintext) =>
        Effect.map(key, () =>
          Sealed.make(new TextEncoder().encode(JSON.stringify([
            context,
            mask(Buffer.from(Redacted.value(plaintext))).toString("base64")
          ])))),
      open: (context, sealed) =>
        Effect.flatMap(key, () => {
          const [sealedContext, text] = JSON.parse(new TextDecoder().decode(sealed))
          return JSON.stringify(sealedContext) === JSON.stringify(context)
            ? Effect.succeed(Redacted.make(mask(Buffer.from(text, "base64")).toString()))
            : Effect.fail(new CipherError({ code: "integrity_error" }))
        })
    })
  })
)

const mask = (bytes: Buffer): Buffer => Buffer.from(bytes.map((byte) => byte ^ 0x5a))

/** The transports as the test drives them: what is open, and gates in front of opening and closing. */
export class Browser extends Context.Service<Browser, {
  readonly open: Map<string, OpenRequest & { readonly redirectUri: string }>
  opened: number
  beforeOpen: Effect.Effect<void, TransportError>
  onClose: Effect.Effect<void>
}>()("test/Browser") {
  static readonly layer = Layer.sync(
    Browser,
    () => ({ open: new Map(), opened: 0, beforeOpen: Effect.void, onClose: Effect.void })
  )
}

/** Where the embedding application of these tests waits for its users. */
export const returnTo = "https://app.example/connected?from=valetkey"

const layerTransports = CallbackTransports.layer([
  Effect.map(Browser, (browser) => ({
    kind: "loopback" as const,
    open: (request: OpenRequest) =>
      Effect.acquireRelease(
        Effect.gen(function*() {
          yield* browser.beforeOpen
          browser.opened++
          const redirectUri = request.preferred ?? `http://127.0.0.1:${40_000 + browser.opened}/cb/x`
          browser.open.set(request.flowId, { ...request, redirectUri })
          return { redirectUri }
        }),
        () =>
          Effect.andThen(Effect.sync(() => browser.open.delete(request.flowId)), Effect.suspend(() => browser.onClose)),
        { interruptible: true }
      )
  })),
  Effect.succeed({
    kind: "gateway" as const,
    stateless: true,
    open: ({ context }: OpenRequest) =>
      Effect.succeed({
        redirectUri: `https://valetkey.example/callback/${context}`,
        connectUrl: (ticket: Redacted.Redacted) =>
          Redacted.make(`https://valetkey.example/connect/${Redacted.value(ticket)}`)
      })
  })
])

/** Names secrets by their SHA-256; a key adds nothing to what these tests look at. */
const layerFingerprints = Layer.succeed(Fingerprints)({
  of: (purpose, secret) => Effect.succeed(`1:${hash("sha256", purpose + Redacted.value(secret)).slice(0, 16)}`)
})

const layerStateTags = Layer.suspend(() =>
  KeyRingStateTags.layer({
    instanceId: "test",
    source: KeySource.fromText(Redacted.make(`1:${randomBytes(32).toString("base64")}`))
  })
)

const layerPorts = Layer.mergeAll(
  layerAuthorizationServer,
  layerCipher,
  layerTransports,
  NodeEntropy.layer,
  layerFingerprints,
  layerStateTags,
  MemoryStore.layer
)
  .pipe(
    Layer.provideMerge(Layer.mergeAll(Provider.layer, Vault.layer, Browser.layer)),
    Layer.provideMerge(InjectionPoints.layer)
  )

/** Every use case over the memory store, a scripted provider and a scripted browser. */
export const layerWith = (
  options?: Parameters<typeof AccessTokens.layer>[0],
  trail?: Parameters<typeof AuditTrail.layer>[0]
) =>
  Layer.merge(Housekeeping.layer, DevicePoller.layer).pipe(
    Layer.provideMerge(
      Layer.mergeAll(
        Flows.layer({ returnUrls: [returnTo] }),
        AccessTokens.layer(options),
        Connections.layer,
        Servers.layer
      )
    ),
    Layer.provideMerge(Layer.mergeAll(AuditTrail.layer(trail), Audit.layer)),
    Layer.provideMerge(layerPorts)
  )

/** The same as an installation is without options. */
export const layer = layerWith()

/** A key of its own for a case; its server exists. */
export const keyOf = Effect.fnUntraced(function*(slug: string, owner: { tenant?: string; subject?: string } = {}) {
  const key = new ConnectionKey({
    tenant: TenantId.make(owner.tenant ?? "acme"),
    subject: SubjectId.make(owner.subject ?? "ada"),
    server: ServerSlug.make(slug)
  })
  yield* (yield* Servers).put(key.tenant, key.server, { resource: "https://mcp.example/mcp", quirks: {} })
  return key
})

/** The response that the provider sends back for an authorization URL. */
export const response = (authorizationUrl: Redacted.Redacted, parameters: Record<string, string> = {}) => {
  const query = new URLSearchParams({
    state: new URL(Redacted.value(authorizationUrl)).searchParams.get("state")!,
    iss: metadata.issuer,
    ...(parameters["error"] === undefined ? { code: Redacted.value(Canary.make("code")) } : {}),
    ...parameters
  })
  return Result.getOrThrow(CallbackReceived.parse(query))
}

/** Plays the browser's return on the transport of a flow. */
export const comeBack = Effect.fnUntraced(function*(flowId: FlowId, received: CallbackReceived) {
  const listener = (yield* Browser).open.get(flowId)
  return yield* listener === undefined ? Effect.die("no listener is open") : listener.deliver(received)
})

/** Starts, consents and waits until the flow is settled. */
export const connect = Effect.fnUntraced(function*(key: ConnectionKey) {
  const started = yield* (yield* Flows).start(key, { reauthorize: true })
  if (started._tag !== "Started") return yield* Effect.die(started._tag)
  const delivery = yield* comeBack(started.flow.id, response(started.authorizationUrl))
  return yield* delivery.settled
})

/** Starts a flow on a key of its own; asks the person again although the connection may be there. */
export const begin = Effect.fnUntraced(function*(slug: string) {
  const key = yield* keyOf(slug)
  const started = yield* (yield* Flows).start(key, { reauthorize: true })
  if (started._tag !== "Started") return yield* Effect.die(started._tag)
  return { key, owner: { id: started.flow.id, tenant: key.tenant, subject: key.subject }, ...started }
})
