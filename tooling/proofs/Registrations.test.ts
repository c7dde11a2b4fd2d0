import { assert, describe, it } from "@effect/vitest"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { Flows } from "@valetkey/domain/Flows"
import { SubjectId } from "@valetkey/domain/Subject"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Context, Effect, Fiber, Latch, Layer, Option, Redacted } from "effect"
import { stores } from "./EveryStore.ts"
import * as Installation from "./Installation.ts"

const people = 20

describe("a server that nobody registered at", () => {
  for (const [name, replicas] of [["memory", 1], ["SQLite", 1], ["PostgreSQL", 3]] as const) {
    it.live(
      `REG-01 gets one registration from ${people} people who start at once on ${replicas} replicas with ${name}`,
      () =>
        Effect.gen(function*() {
          const provider = yield* FakeProvider.make()
          const gate = yield* Latch.make()
          // Whoever registers waits until everybody has come to where a client is looked for.
          provider.always("serverMetadata", Reply.patch({ client_id_metadata_document_supported: undefined }))
          provider.always("registration", Reply.before(gate.await))
          const store = yield* stores[name]
          const keys = Installation.freshKeys()
          const open = Layer.build(Layer.fresh(Installation.layer(store(), keys)))
          const installations = yield* Effect.all(Array.from({ length: replicas }, () => open))
          const { server, tenant } = yield* Installation.describe(provider.resource).pipe(
            Effect.provideContext(installations[0]!)
          )
          const starting = yield* Effect.forkChild(Effect.forEach(
            Array.from({ length: people }, (_, person) => person),
            Effect.fnUntraced(function*(person) {
              const flows = Context.get(installations[person % replicas]!, Flows)
              const key = new ConnectionKey({ tenant, server, subject: SubjectId.make(`person-${person}`) })
              const started = yield* flows.start(key, { transport: "gateway" })
              if (started._tag !== "Offered") return yield* Effect.die(started._tag)
              const ticket = Redacted.make(Redacted.value(started.connectUrl).split("/").at(-1)!)
              const departure = yield* flows.depart(ticket, Redacted.make(`browser-${person}`))
              return new URL(Redacted.value(Option.getOrThrow(departure).authorizationUrl)).searchParams
            }),
            { concurrency: "unbounded" }
          ))
          yield* provider.arrived("serverMetadata", people)
          yield* provider.arrived("registration")
          yield* gate.open
          const asked = yield* Fiber.join(starting)
          assert.strictEqual(provider.requests("registration").length, 1)
          assert.strictEqual(new Set(asked.map((query) => query.get("client_id"))).size, 1)
          assert.strictEqual(new Set(asked.map((query) => query.get("redirect_uri"))).size, 1)
        }),
      30_000
    )
  }
})
