import { assert, describe, it } from "@effect/vitest"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { Effect } from "effect"
import { layer, server } from "./internal/world.ts"

describe("An issuer that is asked as its own resource", () => {
  it.live("S3.31 names its token endpoint, for credentials that were obtained elsewhere", () =>
    Effect.gen(function*() {
      const { issuer } = yield* FakeProvider.make()
      const found = yield* AuthorizationServer.use((oauth) =>
        oauth.discover(server(issuer, { issuer, quirks: { assumePkceSupport: true } }))
      )
      assert.deepInclude(found, { issuer, tokenEndpoint: `${issuer}/token`, revocationEndpoint: `${issuer}/revoke` })
    }).pipe(Effect.scoped, Effect.provide(layer)))
})
