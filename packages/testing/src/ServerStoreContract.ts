import { assert, describe, it, type Vitest } from "@effect/vitest"
import { Server, ServerSlug } from "@valetkey/domain/Server"
import { ServerStore } from "@valetkey/domain/ServerStore"
import type { TenantId } from "@valetkey/domain/Tenant"
import { Effect, type Layer, Option } from "effect"
import * as Fixture from "./internal/contractFixtures.ts"

/** Runs the contract of `ServerStore` on a layer. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<ServerStore | R, unknown>,
  _options?: Fixture.ContractOptions<R>
): void => {
  describe(`ServerStore (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = (it: Vitest.MethodsNonLive<ServerStore>): void => {
  it.effect("gives back a server with everything that was put", () =>
    Effect.gen(function*() {
      const servers = yield* ServerStore
      const server = fullServer(Fixture.newTenant())
      assert.isTrue(yield* servers.put(server))
      const read = Option.getOrThrow(yield* servers.get(server.tenant, server.slug))
      assert.instanceOf(read, Server)
      assert.deepStrictEqual(view(read), view(server))
    }))

  it.effect("says whether a server was created or replaced, and replaces the whole of it", () =>
    Effect.gen(function*() {
      const servers = yield* ServerStore
      const server = fullServer(Fixture.newTenant())
      assert.isTrue(yield* servers.put(server))
      const bare = plainServer(server.tenant, server.slug)
      assert.isFalse(yield* servers.put(bare))
      const read = Option.getOrThrow(yield* servers.get(server.tenant, server.slug))
      assert.deepStrictEqual(view(read), view(bare))
    }))

  it.effect("says once that a server was created when ten create it at once", () =>
    Effect.gen(function*() {
      const servers = yield* ServerStore
      const tenant = Fixture.newTenant()
      const all = yield* Effect.all(Array.from({ length: 10 }, () => servers.put(plainServer(tenant, "same"))), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(all.filter((created) => created), [true])
    }))

  it.effect("I10 keeps the servers of tenants apart", () =>
    Effect.gen(function*() {
      const servers = yield* ServerStore
      const mine = fullServer(Fixture.newTenant())
      const tenant = Fixture.newTenant()
      yield* servers.put(mine)
      assert.isTrue(Option.isNone(yield* servers.get(tenant, mine.slug)))
      assert.isFalse(yield* servers.remove(tenant, mine.slug))
      assert.deepStrictEqual(yield* servers.list({ tenant, after: undefined, limit: 10 }), [])
      yield* servers.put(plainServer(tenant, mine.slug))
      const read = Option.getOrThrow(yield* servers.get(mine.tenant, mine.slug))
      assert.deepStrictEqual(view(read), view(mine))
    }))

  it.effect("lists servers by slug, page after page", () =>
    Effect.gen(function*() {
      const servers = yield* ServerStore
      const tenant = Fixture.newTenant()
      // Sorted by code point; a locale would put them in another order.
      const slugs = ["a", "a-b", "a.b", "a0", "a_b", "aa", "b"]
      for (const slug of [...slugs].reverse()) yield* servers.put(plainServer(tenant, slug))
      const page = (after: string | undefined, limit: number) =>
        Effect.map(
          servers.list({ tenant, after: after === undefined ? undefined : ServerSlug.make(after), limit }),
          (found) => found.map((server) => String(server.slug))
        )
      assert.deepStrictEqual(yield* page(undefined, 100), slugs)
      assert.deepStrictEqual(yield* page(undefined, 3), slugs.slice(0, 3))
      assert.deepStrictEqual(yield* page("a.b", 3), slugs.slice(3, 6))
      assert.deepStrictEqual(yield* page("a-c", 1), ["a.b"])
      assert.deepStrictEqual(yield* page("b", 3), [])
    }))

  it.effect("removes a server once", () =>
    Effect.gen(function*() {
      const servers = yield* ServerStore
      const server = fullServer(Fixture.newTenant())
      assert.isFalse(yield* servers.remove(server.tenant, server.slug))
      yield* servers.put(server)
      assert.isTrue(yield* servers.remove(server.tenant, server.slug))
      assert.isFalse(yield* servers.remove(server.tenant, server.slug))
      assert.isTrue(Option.isNone(yield* servers.get(server.tenant, server.slug)))
    }))
}

const plainServer = (tenant: TenantId, slug: string): Server =>
  Server.make({ tenant, slug: ServerSlug.make(slug), resource: "https://api.example/mcp", quirks: {} })

const fullServer = (tenant: TenantId): Server =>
  Server.make({
    tenant,
    slug: ServerSlug.make("full.server_1"),
    name: "Ünïcode \"server\"",
    resource: "https://api.example/mcp?a=b",
    issuer: "https://as.example",
    endpoints: {
      authorization: "https://as.example/authorize",
      token: "https://as.example/token",
      revocation: "https://as.example/revoke"
    },
    client: {
      clientId: "client",
      authMethod: "client_secret_basic",
      clientSecret: Fixture.newSealed(),
      redirectUri: "https://valetkey.example/callback/ctx"
    },
    scopes: ["read", "write:all"],
    accountChange: "replace",
    quirks: {
      redemptionPolicy: "strict",
      resourceParameter: false,
      assumePkceSupport: true,
      authorizationParameters: { prompt: "consent" }
    }
  })

const view = ({ client, ...rest }: Server) => ({
  ...rest,
  client: client && { ...client, clientSecret: client.clientSecret && Fixture.hex(client.clientSecret) }
})
