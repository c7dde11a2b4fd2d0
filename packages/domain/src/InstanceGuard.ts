import { Effect, Layer } from "effect"
import {
  AuthorizationServer,
  DiscoveryError,
  RedemptionError,
  ResponseError,
  RevocationError
} from "./AuthorizationServer.ts"
import { Cipher } from "./Cipher.ts"
import { DevicePoller } from "./DevicePoller.ts"
import { Flows } from "./Flows.ts"
import { Housekeeping } from "./Housekeeping.ts"
import { Instance } from "./Instance.ts"
import { Renewer } from "./Renewer.ts"
import type { StoreError } from "./StoreError.ts"
import { Tenants } from "./Tenants.ts"

/** Layer of a Cipher that opens and seals only what is this instance's. */
export const layerCipher: Layer.Layer<Cipher, never, Cipher | Instance> = Layer.effect(
  Cipher,
  Effect.map(Effect.all([Cipher, Instance]), ([cipher, { admitted }]) =>
    Cipher.of({
      seal: (context, plaintext) => Effect.andThen(admitted, cipher.seal(context, plaintext)),
      open: (context, sealed) => Effect.andThen(admitted, cipher.open(context, sealed))
    }))
)

/** Layer of an AuthorizationServer that is not called for another instance, whoever asks. */
export const layerAuthorizationServer: Layer.Layer<AuthorizationServer, never, AuthorizationServer | Instance> = Layer
  .effect(
    AuthorizationServer,
    Effect.map(Effect.all([AuthorizationServer, Instance]), ([server, { admitted }]) => {
      const undiscovered = Effect.mapError(
        admitted,
        (cause) => new DiscoveryError({ code: "authorization_server_unreachable", cause })
      )
      const unredeemed = Effect.mapError(
        admitted,
        (cause) => new RedemptionError({ reason: { _tag: "Transient" }, cause })
      )
      return AuthorizationServer.of({
        discover: (one) => Effect.andThen(undiscovered, server.discover(one)),
        register: (metadata, input) => Effect.andThen(undiscovered, server.register(metadata, input)),
        authorizationUrl: (request) => server.authorizationUrl(request),
        push: (request) => Effect.andThen(undiscovered, server.push(request)),
        verifyResponse: (flow, response) =>
          Effect.andThen(
            Effect.mapError(
              admitted,
              (cause) => new ResponseError({ code: "authorization_server_unavailable", cause })
            ),
            server.verifyResponse(flow, response)
          ),
        exchange: (accepted, secrets) => Effect.andThen(unredeemed, server.exchange(accepted, secrets)),
        authorizeDevice: (metadata, request) => Effect.andThen(undiscovered, server.authorizeDevice(metadata, request)),
        poll: (grant, secrets) => Effect.andThen(unredeemed, server.poll(grant, secrets)),
        refresh: (grant, secrets) => Effect.andThen(unredeemed, server.refresh(grant, secrets)),
        obtain: (grant, secrets) => Effect.andThen(unredeemed, server.obtain(grant, secrets)),
        expiryOf: (grant, input) =>
          Effect.catch(Effect.andThen(admitted, server.expiryOf(grant, input)), () => Effect.undefined),
        revoke: (grant, input) =>
          Effect.andThen(
            Effect.mapError(admitted, (cause) => new RevocationError({ code: "revocation_unreachable", cause })),
            server.revoke(grant, input)
          )
      })
    })
  )

/** Layer of Flows that start nothing for another instance. */
export const layerFlows: Layer.Layer<Flows, never, Flows | Instance> = Layer.effect(
  Flows,
  Effect.map(
    Effect.all([Flows, Instance]),
    ([flows, { admitted }]) =>
      Flows.of({
        ...flows,
        start: (key, options) => Effect.andThen(admitted, flows.start(key, options)),
        handOff: (owner, transport) => Effect.andThen(admitted, flows.handOff(owner, transport))
      })
  )
)

/** Layer of a Housekeeping that leaves another instance's rows and spool alone. */
export const layerHousekeeping: Layer.Layer<Housekeeping, never, Housekeeping | Instance> = Layer.effect(
  Housekeeping,
  Effect.map(Effect.all([Housekeeping, Instance]), ([{ replay, revoke, sweep }, { admitted }]) => {
    const ours = (piece: Effect.Effect<number, StoreError>) =>
      Effect.matchEffect(admitted, { onFailure: () => Effect.succeed(0), onSuccess: () => piece })
    return Housekeeping.of({ sweep: ours(sweep), revoke: ours(revoke), replay: ours(replay) })
  })
)

/** Layer of a DevicePoller that leaves another instance's flows alone. */
export const layerDevicePoller: Layer.Layer<DevicePoller, never, DevicePoller | Instance> = Layer.effect(
  DevicePoller,
  Effect.map(Effect.all([DevicePoller, Instance]), ([poller, { admitted }]) =>
    DevicePoller.of({
      ...poller,
      begin: Effect.matchEffect(admitted, {
        onFailure: () => Effect.succeed({ taken: 0, done: Effect.void }),
        onSuccess: () => poller.begin
      })
    }))
)

/** Layer of a Renewer that leaves another instance's connections alone. */
export const layerRenewer: Layer.Layer<Renewer, never, Instance | Renewer> = Layer.effect(
  Renewer,
  Effect.map(Effect.all([Renewer, Instance]), ([renewer, { admitted }]) =>
    Renewer.of({
      ...renewer,
      round: (over) =>
        Effect.matchEffect(admitted, {
          onFailure: () => Effect.succeed({ taken: 0, renewed: 0 }),
          onSuccess: () => renewer.round(over)
        })
    }))
)

/** Layer of Tenants that deletes nothing of another instance's. */
export const layerTenants: Layer.Layer<Tenants, never, Instance | Tenants> = Layer.effect(
  Tenants,
  Effect.map(Effect.all([Tenants, Instance]), ([tenants, { admitted }]) =>
    Tenants.of({
      ...tenants,
      remove: (tenant) => Effect.andThen(admitted, tenants.remove(tenant)),
      allow: (tenant) => Effect.andThen(admitted, tenants.allow(tenant)),
      proceed: Effect.matchEffect(admitted, { onFailure: () => Effect.succeed(0), onSuccess: () => tenants.proceed })
    }))
)
