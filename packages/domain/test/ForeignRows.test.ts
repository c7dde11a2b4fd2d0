import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import { Cause, Effect, Exit, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { connect, keyOf, layer, Provider } from "./World.ts"

/** What of a key is somebody else's, while the rest is the same. */
const others = {
  tenant: (key: ConnectionKey) => new ConnectionKey({ ...key, tenant: TenantId.make("other") }),
  subject: (key: ConnectionKey) => new ConnectionKey({ ...key, subject: SubjectId.make("other") }),
  server: (key: ConnectionKey) => new ConnectionKey({ ...key, server: ServerSlug.make("other") })
}

/** A store that answers crosswise: whoever asks for a connection gets the one whose key differs in one part. */
const crosswise = Effect.fnUntraced(function*(part: keyof typeof others) {
  const key = yield* keyOf("mcp")
  yield* connect(key)
  const store = yield* ConnectionStore
  const { get, list } = store
  Object.assign(store, {
    get: (asked: ConnectionKey) =>
      Effect.map(get(asked), Option.map((found) => ({ ...found, key: others[part](found.key) }))),
    list: (input: Parameters<typeof list>[0]) =>
      Effect.map(list(input), (found) => found.map((one) => ({ ...one, key: others[part](one.key) })))
  })
  return key
})

const defectOf = <A, E>(exit: Exit.Exit<A, E>) =>
  Exit.isFailure(exit) ? Cause.squash(exit.cause) as { readonly code?: string; readonly message: string } : undefined

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
  }
})
