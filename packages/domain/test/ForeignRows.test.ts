import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ArchiveSealer } from "@valetkey/domain/ArchiveSealer"
import { ConnectionKey, Epoch } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { Exports } from "@valetkey/domain/Exports"
import { Flows } from "@valetkey/domain/Flows"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { ServerSlug, type UnattendedGrant } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { Spool } from "@valetkey/domain/Spool"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import * as Canary from "@valetkey/testing/Canary"
import { Cause, DateTime, Effect, Exit, Layer, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { begin, comeBack, connect, keyOf, layer, Provider, response } from "./World.ts"

/** What of a key is somebody else's, while the rest is the same. */
const others = {
  tenant: (key: ConnectionKey) => new ConnectionKey({ ...key, tenant: TenantId.make("other") }),
  subject: (key: ConnectionKey) => new ConnectionKey({ ...key, subject: SubjectId.make("other") }),
  server: (key: ConnectionKey) => new ConnectionKey({ ...key, server: ServerSlug.make("other") })
}

/**
 * Has the store answer crosswise from the nth read on: whoever asks for a connection gets the one whose key differs in one
 * part. Returns what is there, as it is.
 */
const cross = Effect.fnUntraced(function*(
  part: keyof typeof others,
  { from = 1, of }: { readonly from?: number; readonly of?: ConnectionKey } = {}
) {
  const store = yield* ConnectionStore
  const { get, list } = store
  let reads = 0
  Object.assign(store, {
    get: (asked: ConnectionKey) =>
      Effect.map(get(asked), (row) => {
        const isCrossed = (of === undefined || of.path === asked.path) && ++reads >= from
        return isCrossed ? Option.map(row, (found) => ({ ...found, key: others[part](found.key) })) : row
      }),
    list: (input: Parameters<typeof list>[0]) =>
      Effect.map(list(input), (found) => found.map((one) => ({ ...one, key: others[part](one.key) })))
  })
  return { get: (key: ConnectionKey) => Effect.map(get(key), Option.getOrUndefined) }
})

const crosswise = Effect.fnUntraced(function*(part: keyof typeof others) {
  const key = yield* keyOf("mcp")
  yield* connect(key)
  yield* cross(part)
  return key
})

const defectOf = <A, E>(exit: Exit.Exit<A, E>) =>
  Exit.isFailure(exit) ? Cause.squash(exit.cause) as { readonly code?: string; readonly message: string } : undefined

const credentials = { accessToken: Redacted.make("mine"), tokenType: "Bearer" }

const unattended = Effect.fnUntraced(function*(
  { server, tenant }: ConnectionKey,
  grant: UnattendedGrant = { type: "client_credentials" }
) {
  yield* (yield* Servers).put(tenant, server, {
    resource: "https://mcp.example/mcp",
    grant,
    client: { clientId: "robot", authMethod: "client_secret_basic", clientSecret: Canary.make("client_secret") },
    quirks: {}
  })
})

const noSealer = Layer.succeed(ArchiveSealer)({ seal: () => Effect.die("nothing is to be sealed") })

describe("a store that answers with the row of another connection", () => {
  for (const part of ["tenant", "subject", "server"] as const) {
    it.effect(`hands nobody a token of another ${part}`, () =>
      Effect.gen(function*() {
        const key = yield* crosswise(part)
        const tokens = yield* AccessTokens
        const exit = yield* Effect.exit(tokens.get(key))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        assert.strictEqual(defectOf(exit)?.code, "foreign_row")
        const { issued } = yield* Provider
        for (const secret of issued) assert.notInclude(String(defectOf(exit)?.message), secret)
      }).pipe(Effect.provide(layer)))

    it.effect(`redeems nothing of another ${part}`, () =>
      Effect.gen(function*() {
        const key = yield* crosswise(part)
        const provider = yield* Provider
        yield* TestClock.adjust("2 hours")
        assert.strictEqual(
          defectOf(yield* Effect.exit((yield* AccessTokens).get(key, { rejected: Redacted.make("any") })))?.code,
          "foreign_row"
        )
        assert.strictEqual([...provider.redemptions.keys()].filter((token) => token.includes("refresh")).length, 0)
      }).pipe(Effect.provide(layer)))

    it.effect(`shows nobody a connection of another ${part}`, () =>
      Effect.gen(function*() {
        const key = yield* crosswise(part)
        const connections = yield* Connections
        assert.strictEqual(defectOf(yield* Effect.exit(connections.get(key)))?.code, "foreign_row")
        if (part === "server") return
        const { subject, tenant } = key
        const listed = yield* Effect.exit(connections.list({ tenant, subject, after: undefined, limit: 10 }))
        assert.strictEqual(defectOf(listed)?.code, "foreign_row")
      }).pipe(Effect.provide(layer)))

    it.effect(`starts and deposits nothing on the row of another ${part}`, () =>
      Effect.gen(function*() {
        const key = yield* keyOf("mcp")
        yield* connect(key)
        const { get } = yield* cross(part)
        const before = yield* get(key)
        const [flows, connections] = [yield* Flows, yield* Connections]
        for (const options of [{}, { reauthorize: true }]) {
          assert.strictEqual(defectOf(yield* Effect.exit(flows.start(key, options)))?.code, "foreign_row")
        }
        const deposit = { grant: before!.grant, credentials: { ...credentials, issuedAt: yield* DateTime.now } }
        assert.strictEqual(defectOf(yield* Effect.exit(connections.deposit(key, deposit)))?.code, "foreign_row")
        assert.strictEqual(defectOf(yield* Effect.exit(connections.forget(key, 1)))?.code, "foreign_row")
        yield* unattended(key)
        assert.strictEqual(defectOf(yield* Effect.exit(flows.start(key)))?.code, "foreign_row")
        assert.deepStrictEqual(yield* get(key), before)
      }).pipe(Effect.provide(layer)))

    it.effect(`completes no flow over the row of another ${part}`, () =>
      Effect.gen(function*() {
        const key = yield* keyOf("mcp")
        yield* connect(key)
        const { authorizationUrl, flow, owner } = yield* begin("mcp")
        const { get } = yield* cross(part)
        const before = yield* get(key)
        yield* comeBack(flow.id, response(authorizationUrl))
        yield* TestClock.adjust("15 minutes")
        yield* (yield* Housekeeping).sweep
        assert.strictEqual((yield* (yield* Flows).status(owner)).state, "outcome_unknown")
        assert.lengthOf((yield* Provider).exchanged, 2)
        assert.deepStrictEqual(yield* get(key), before)
      }).pipe(Effect.provide(layer)))

    it.effect(`judges no late result by the row of another ${part}`, () =>
      Effect.gen(function*() {
        const key = yield* keyOf("mcp")
        yield* connect(key)
        const { get } = yield* cross(part)
        const former = (yield* get(key))!
        const spool = yield* Spool
        yield* (yield* ConnectionStore).disconnect(key, Epoch.make("ended"))
        const { credentials, epoch, generation: redeemed, grant } = former
        yield* spool.append({ id: "late", key, epoch, redeemed, credentials, grant })
        const exit = yield* Effect.exit((yield* Housekeeping).replay)
        assert.strictEqual(defectOf(exit)?.code, "foreign_row")
        assert.deepStrictEqual((yield* spool.list).map(({ id }) => id), ["late"])
      }).pipe(Effect.provide(layer)))

    it.effect(`seals nothing of another ${part} in an archive`, () =>
      Effect.gen(function*() {
        const { subject, tenant, ...key } = yield* crosswise(part)
        const exports = yield* Exports
        const to = { _tag: "Recipient", recipient: "nobody" } as const
        const sealings = [exports.seal({ tenant, subject, servers: [key.server], to })]
        // A page names no server that it must be of.
        if (part !== "server") sealings.push(exports.seal({ tenant, subject, to }))
        for (const sealing of sealings) assert.strictEqual(defectOf(yield* Effect.exit(sealing))?.code, "foreign_row")
      }).pipe(Effect.provide(Exports.layer.pipe(Layer.provide(noSealer), Layer.provideMerge(layer)))))

    it.effect(`shows an ID token to nobody by the row of another ${part}`, () =>
      Effect.gen(function*() {
        const idp = yield* keyOf("idp")
        yield* (yield* Servers).put(idp.tenant, idp.server, {
          resource: "https://idp.example",
          scopes: ["openid"],
          tokens: "identity",
          quirks: {}
        })
        yield* connect(idp)
        const key = yield* keyOf("mcp")
        yield* unattended(key, { type: "identity_assertion", identity: idp.server })
        yield* (yield* Flows).start(key)
        // The row that says whose issuer it is shown to is read after the token was found, and after its renewal.
        yield* cross(part, { of: idp, from: 3 })
        const exit = yield* Effect.exit((yield* AccessTokens).get(key))
        assert.strictEqual(defectOf(exit)?.code, "foreign_row")
        assert.lengthOf((yield* Provider).authorities, 0)
      }).pipe(Effect.provide(layer)))
  }
})
