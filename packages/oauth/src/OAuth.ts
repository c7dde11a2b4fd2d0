import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import { Egress } from "@valetkey/egress/Egress"
import { Duration, Effect, Layer } from "effect"
import * as AuthorizationUrl from "./AuthorizationUrl.ts"
import * as DeviceFlow from "./DeviceFlow.ts"
import * as Discovery from "./Discovery.ts"
import * as Exchange from "./Exchange.ts"
import { makeKeySets } from "./internal/keySets.ts"
import type { Outbound } from "./internal/outbound.ts"
import { makeProofs } from "./internal/proofs.ts"
import * as Introspection from "./Introspection.ts"
import * as PushedAuthorization from "./PushedAuthorization.ts"
import * as Refreshing from "./Refreshing.ts"
import * as Registration from "./Registration.ts"
import * as Revocation from "./Revocation.ts"
import * as SignedResponse from "./SignedResponse.ts"
import * as Unattended from "./Unattended.ts"

/** Deadlines of one request each, by kind. */
export interface OAuthOptions {
  /** Metadata and registration, 10 seconds by default. */
  readonly discovery?: Duration.Input | undefined
  /** The token endpoint, 30 seconds by default. */
  readonly token?: Duration.Input | undefined
  /** The revocation endpoint, 10 seconds by default. */
  readonly revocation?: Duration.Input | undefined
  /** The introspection endpoint, 5 seconds by default. */
  readonly introspection?: Duration.Input | undefined
}

/** Layer that asks authorization servers through the guarded client, with deadlines of one's own. */
export const layerWith = (options: OAuthOptions): Layer.Layer<AuthorizationServer, never, Egress> =>
  Layer.effect(
    AuthorizationServer,
    Effect.gen(function*() {
      const egress = yield* Egress
      const discovery = Duration.fromInputUnsafe(options.discovery ?? "10 seconds")
      const outbound: Outbound = {
        egress,
        discovery,
        token: Duration.fromInputUnsafe(options.token ?? "30 seconds"),
        revocation: Duration.fromInputUnsafe(options.revocation ?? "10 seconds"),
        introspection: Duration.fromInputUnsafe(options.introspection ?? "5 seconds"),
        proofs: makeProofs(),
        keySets: makeKeySets(egress, discovery)
      }
      return AuthorizationServer.of({
        discover: Effect.fn("OAuth.discover")((server) => Discovery.discover(outbound, server)),
        register: Effect.fn("OAuth.register")((metadata, input) => Registration.register(outbound, metadata, input)),
        authorizationUrl: (request) => Effect.sync(() => AuthorizationUrl.make(request)),
        push: Effect.fn("OAuth.push")((request) => PushedAuthorization.push(outbound, request)),
        verifyResponse: Effect.fn("OAuth.verifyResponse")((flow, response) =>
          SignedResponse.verify(outbound, flow, response)
        ),
        exchange: Effect.fn("OAuth.exchange")((accepted, secrets) => Exchange.exchange(outbound, accepted, secrets)),
        authorizeDevice: Effect.fn("OAuth.authorizeDevice")((metadata, request) =>
          DeviceFlow.authorize(outbound, metadata, request)
        ),
        poll: Effect.fn("OAuth.poll")((grant, secrets) => DeviceFlow.poll(outbound, grant, secrets)),
        refresh: Effect.fn("OAuth.refresh")((grant, secrets) => Refreshing.refresh(outbound, grant, secrets)),
        obtain: Effect.fn("OAuth.obtain")((grant, secrets) => Unattended.obtain(outbound, grant, secrets)),
        expiryOf: Effect.fn("OAuth.expiryOf")((grant, input) => Introspection.expiryOf(outbound, grant, input)),
        revoke: Effect.fn("OAuth.revoke")((grant, input) => Revocation.revoke(outbound, grant, input))
      })
    })
  )

/** Layer that asks authorization servers through the guarded client. */
export const layer: Layer.Layer<AuthorizationServer, never, Egress> = layerWith({})
