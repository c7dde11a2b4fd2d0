import { AuthorizationServer, type DiscoveryError, type RedemptionError } from "@valetkey/domain/AuthorizationServer"
import { type CallbackTransport } from "@valetkey/domain/CallbackTransport"
import type { Credentials } from "@valetkey/domain/Credentials"
import * as Canary from "@valetkey/testing/Canary"
import { Context, DateTime, Duration, Effect, Layer, Redacted } from "effect"

/** What the scripted authorization server does, and every call that reached it or a store. */
export class Script extends Context.Service<Script, {
  readonly calls: Array<string>
  discovery: DiscoveryError | undefined
  exchange: (n: number) => Effect.Effect<Credentials, RedemptionError>
  refresh: (n: number) => Effect.Effect<Credentials, RedemptionError>
  obtain: Effect.Effect<Credentials, RedemptionError>
  stateOf: string
  /** Context of the callback of the flow that was started last. */
  contextOf: string
  /** Path of the connect page of the flow that was started last; empty when it has none. */
  connectPath: string
}>()("test/Script") {
  static readonly layer = Layer.sync(Script, () => ({
    calls: [],
    discovery: undefined,
    exchange: issue,
    refresh: issue,
    obtain: Effect.suspend(() => issue(0)),
    stateOf: "",
    contextOf: "",
    connectPath: ""
  }))
}

/** Fresh credentials of one hour. */
export const issue = Effect.fnUntraced(function*(_: number) {
  const issuedAt = yield* DateTime.now
  return {
    accessToken: Canary.make("access"),
    refreshToken: Canary.make("refresh"),
    tokenType: "Bearer",
    scopes: ["notes.read"],
    issuedAt,
    expiresAt: DateTime.add(issuedAt, { hours: 1 })
  }
})

/** Layer of the authorization server as the script has it. */
export const layerAuthorizationServer = Layer.effect(
  AuthorizationServer,
  Effect.map(Script, (script) => {
    const count = (name: string) => {
      script.calls.push(`server.${name}`)
      return script.calls.filter((call) => call === `server.${name}`).length
    }
    return AuthorizationServer.of({
      discover: (server) =>
        Effect.suspend(() => {
          count("discover")
          return script.discovery === undefined
            ? Effect.succeed({
              issuer: "https://as.example",
              authorizationEndpoint: "https://as.example/authorize",
              tokenEndpoint: "https://as.example/token",
              revocationEndpoint: "https://as.example/revoke",
              registrationEndpoint: "https://as.example/register",
              deviceAuthorizationEndpoint: "https://as.example/device_authorization",
              issRequired: false,
              authMethods: ["none"],
              scopes: ["notes.read"],
              resource: server.resource
            })
            : Effect.fail(script.discovery)
        }),
      register: () => Effect.sync(() => (count("register"), { clientId: "client-1", authMethod: "none" as const })),
      push: ({ authorizationUrl }) => Effect.succeed(authorizationUrl),
      verifyResponse: () => Effect.die("no response of these tests is signed"),
      authorizationUrl: (request) =>
        Effect.sync(() => {
          script.stateOf = Redacted.value(request.state)
          Canary.register("state", script.stateOf)
          const url = new URL(request.authorizationEndpoint)
          url.searchParams.set("state", script.stateOf)
          url.searchParams.set("redirect_uri", request.redirectUri)
          return Redacted.make(url.href)
        }),
      exchange: () => Effect.suspend(() => script.exchange(count("exchange"))),
      authorizeDevice: () =>
        Effect.sync(() => {
          count("authorizeDevice")
          return {
            deviceCode: Canary.make("device_code"),
            userCode: Redacted.make("WDJB-MJHT"),
            verificationUri: "https://as.example/device",
            verificationUriComplete: Redacted.make("https://as.example/device?user_code=WDJB-MJHT"),
            expiresIn: Duration.minutes(5),
            interval: Duration.seconds(5)
          }
        }),
      poll: () => Effect.sync(() => (count("poll"), { _tag: "Pending" as const })),
      refresh: () => Effect.suspend(() => script.refresh(count("refresh"))),
      obtain: () => Effect.suspend(() => (count("obtain"), script.obtain)),
      expiryOf: () => Effect.undefined,
      revoke: () => Effect.sync(() => (count("revoke"), "confirmed" as const))
    })
  })
)

/** How browsers know the server of these tests. */
export const publicOrigin = "https://valetkey.example"

/** Ways back that note where the flow that was started last expects its response. */
export const transports = Effect.map(Script, (script) => {
  const redirectTo = (context: string) => {
    script.connectPath = ""
    script.contextOf = context
    return `${publicOrigin}/callback/${context}`
  }
  const gateway: CallbackTransport = {
    kind: "gateway",
    open: ({ context }) =>
      Effect.sync(() => ({
        redirectUri: redirectTo(context),
        connectUrl: (ticket) => {
          script.connectPath = `/connect/${Redacted.value(ticket)}`
          return Redacted.make(`${publicOrigin}${script.connectPath}`)
        }
      }))
  }
  const loopback: CallbackTransport = {
    kind: "loopback",
    open: ({ context }) => Effect.sync(() => ({ redirectUri: redirectTo(context) }))
  }
  return { gateway, loopback }
})

/** A store port that notes every call. */
export const noted = <Id, S extends object>(key: Context.Key<Id, S>, name: string) =>
  Layer.effect(
    key,
    Effect.map(Effect.all([key, Script]), ([port, script]) =>
      new Proxy(port, {
        get: (target, property, receiver) => {
          const member = Reflect.get(target, property, receiver)
          if (typeof member !== "function") return member
          return (...input: ReadonlyArray<unknown>) => {
            script.calls.push(`${name}.${String(property)}`)
            return Reflect.apply(member, target, input)
          }
        }
      }))
  )

/** The deposits among the calls. */
export const writes = (calls: ReadonlyArray<string>) => calls.filter((call) => call === "ConnectionStore.deposit")
