// A replica of the bench: every use case over real adapters, a spool that reaches the disk, and no HTTP in between.
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import * as PostgresStore from "@valetkey/store-postgres/PostgresStore"
import * as SqliteSpool from "@valetkey/store-sqlite/SqliteSpool"
import * as ProcessInjection from "@valetkey/testing/ProcessInjection"
import { DateTime, Effect, Layer, Redacted } from "effect"
import * as Installation from "../proofs/Installation.ts"
import type { Order } from "./RefreshOrders.ts"

const [, , url = "", issuer = "", keys = "", spool = ""] = process.argv

const layer = Installation.layer(
  Layer.mergeAll(
    PostgresStore.layer({ url: Redacted.make(url), deadline: "1 minute" }),
    SqliteSpool.layer({ path: spool })
  ),
  Redacted.make(keys)
).pipe(Layer.provideMerge(ProcessInjection.layerQuiet))

const keyOf = (name: string) =>
  new ConnectionKey({ tenant: TenantId.make("bench"), subject: SubjectId.make("ada"), server: ServerSlug.make(name) })

const program = Effect.gen(function*() {
  const tokens = yield* AccessTokens
  const connections = yield* Connections
  const issuedAt = DateTime.subtract(yield* DateTime.now, { hours: 2 })

  const obey = Effect.fnUntraced(function*(order: Order) {
    if (order.do === "prepare") {
      yield* Effect.forEach(order.rows, ({ accessToken, name, refreshToken }) =>
        connections.deposit(keyOf(name), {
          grant: {
            issuer,
            tokenEndpoint: `${issuer}/token`,
            clientId: "fake-client",
            authMethod: "none",
            redemptionPolicy: "retry-once"
          },
          credentials: {
            accessToken: Redacted.make(accessToken),
            refreshToken: Redacted.make(refreshToken),
            tokenType: "Bearer",
            issuedAt,
            expiresAt: DateTime.add(issuedAt, { hours: 1 })
          }
        }), { discard: true })
      return {}
    }
    const begun = performance.now()
    const got = yield* Effect.forEach(
      Array.from({ length: order.callers }, (_, n) => keyOf(order.names[n % order.names.length]!)),
      (key) => tokens.get(key),
      { concurrency: "unbounded" }
    )
    return {
      seconds: (performance.now() - begun) / 1000,
      tokens: [...new Set(got.map(({ accessToken }) => Redacted.value(accessToken)))]
    }
  })

  const run = Effect.runPromiseWith(yield* Effect.context<never>())
  process.on("message", (message: object) => {
    // The other messages are for the injection points.
    if (!("do" in message)) return
    run(obey(message as Order)).then(
      (done) => process.send?.({ done }),
      (failed: unknown) => process.send?.({ failed: String(failed) })
    )
  })
  process.send?.({ ready: true })
  return yield* Effect.never
})

process.on("disconnect", () => process.exit())
void Effect.runPromise(Effect.scoped(program.pipe(Effect.provide(layer))))
