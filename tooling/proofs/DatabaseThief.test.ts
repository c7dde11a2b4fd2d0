import { assert, describe, it } from "@effect/vitest"
import { CallbackReceived } from "@valetkey/domain/Authorization"
import { Flows } from "@valetkey/domain/Flows"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as SqliteStore from "@valetkey/store-sqlite/SqliteStore"
import * as CanaryScan from "@valetkey/testing/CanaryScan"
import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as UserAgent from "@valetkey/testing/UserAgent"
import { Effect, Layer, Option, Redacted, Result, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import { join } from "node:path"
import * as Dump from "./Dump.ts"
import { postgres } from "./EveryStore.ts"
import * as Installation from "./Installation.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

/** A store, and what whoever reads it has. */
interface Robbed {
  readonly layer: Layer.Layer<Installation.Stores, unknown>
  readonly dump: Effect.Effect<Dump.Dump>
}

const stores: Readonly<Record<string, Effect.Effect<Robbed, never, Scope.Scope>>> = {
  memory: Effect.map(Layer.build(MemoryStore.layer), (context) => ({
    layer: Layer.succeedContext(context),
    dump: Dump.ofMemory(context)
  })),
  SQLite: Effect.map(TemporaryDirectory.make, (directory) => {
    const path = join(directory, "valetkey.db")
    return { layer: SqliteStore.layer({ path }), dump: Dump.ofSqlite(path) }
  }),
  PostgreSQL: Effect.map(
    EmbeddedPostgres.database,
    (database) => ({ layer: postgres(database.url), dump: Dump.ofPostgres(database) })
  )
}

const secretOf = (url: Redacted.Redacted, name: string) => new URL(Redacted.value(url)).searchParams.get(name) ?? ""

/** Starts a flow that comes back at the public redirect URI, for the one person of a tenant. */
const start = Effect.fnUntraced(function*(provider: FakeProvider.FakeProvider, tenant: string, finalize = false) {
  const key = yield* Installation.describe(provider.resource, tenant)
  const started = yield* (yield* Flows).start(key, {
    transport: "gateway",
    ...(finalize ? { confirmation: "finalize", returnTo: Installation.returnTo } : {})
  })
  if (started._tag !== "Started" && started._tag !== "Offered") return yield* Effect.die(started._tag)
  const { flow } = started
  return {
    owner: { id: flow.id, tenant: key.tenant, subject: key.subject },
    ticket: started._tag === "Offered" ? Redacted.value(started.connectUrl).split("/").at(-1)! : "",
    authorizationUrl: started._tag === "Started" ? started.authorizationUrl : Redacted.make("")
  }
})

/** The response that the provider sends a consenting person back with, and the place where it arrives. */
const consented = (authorizationUrl: Redacted.Redacted) =>
  Effect.map(
    UserAgent.make().callbackUrl(Redacted.value(authorizationUrl), secretOf(authorizationUrl, "redirect_uri")),
    ({ pathname, searchParams }) => ({
      received: Result.getOrThrow(CallbackReceived.parse(searchParams)),
      context: decodeURIComponent(pathname.split("/").at(-1)!)
    })
  )

describe("somebody who reads the database and no more", () => {
  for (const [name, store] of Object.entries(stores)) {
    it.live(`FLOW-18 finishes no flow that is pending, bound or waiting for its application, on ${name}`, () =>
      Effect.gen(function*() {
        const { dump, layer } = yield* store
        const provider = yield* FakeProvider.make()
        yield* Effect.gen(function*() {
          const flows = yield* Flows
          const secret = () => Redacted.make(randomBytes(32).toString("base64url"))
          const [offered, bound, held] = [
            yield* start(provider, "offered"),
            yield* start(provider, "bound"),
            yield* start(provider, "held", true)
          ]
          const browser = secret()
          const departure = Option.getOrThrow(yield* flows.depart(Redacted.make(bound.ticket), browser))
          const back = yield* consented(held.authorizationUrl)
          const { onward } = yield* flows.complete(back.received, { context: back.context })
          const completionCode = secretOf(onward!, "completion_code")
          const stolen = yield* dump

          // The thief: every value as everything, and with each of the other secrets at hand.
          const values = Dump.valuesOf(stolen)
          for (const { owner } of [offered, bound, held]) assert.include(values, owner.id)
          assert.include(values, back.context)
          const contexts = [...new Set(values.filter((value) => value.includes("/callback/")))]
            .map((value) => value.split("/callback/")[1]!)
          assert.isAtLeast(contexts.length, 3)
          const state = secretOf(departure.authorizationUrl, "state")
          const claims = (state: string, holds: Redacted.Redacted | undefined) => {
            const query = new URLSearchParams({ state, code: "a code of the thief's own", iss: provider.issuer })
            const received = CallbackReceived.parse(query)
            return Effect.forEach(
              Result.isSuccess(received) ? contexts : [],
              (context) => Effect.flip(flows.complete(Result.getOrThrow(received), { context, browser: () => holds }))
            )
          }
          yield* claims(state, undefined)
          for (const value of values) {
            const guess = Redacted.make(value)
            assert.isTrue(Option.isNone(yield* flows.offer(guess, () => guess)))
            assert.isTrue(Option.isNone(yield* flows.depart(guess, secret())))
            assert.isTrue(Option.isNone(yield* flows.depart(Redacted.make(bound.ticket), guess)))
            for (
              const [wanted, holds] of [[value, undefined], [value, guess], [value, browser], [state, guess]] as const
            ) {
              for (const refusal of yield* claims(wanted, holds)) assert.strictEqual(refusal._tag, "CallbackRejected")
            }
            const refusal = yield* Effect.flip(flows.finalize(held.owner, guess))
            assert.strictEqual(refusal._tag, "CompletionCodeInvalid")
          }
          assert.deepStrictEqual((yield* dump).rows, stolen.rows)
          assert.strictEqual(provider.requests("token").length, 0)

          // Who holds them finishes all three.
          const own = Option.getOrThrow(yield* flows.depart(Redacted.make(offered.ticket), browser))
          for (const { authorizationUrl } of [own, departure]) {
            const { context, received } = yield* consented(authorizationUrl)
            const settled = yield* (yield* flows.complete(received, { context, browser: () => browser })).settled
            assert.strictEqual(settled.state, "completed")
          }
          assert.strictEqual((yield* flows.finalize(held.owner, Redacted.make(completionCode))).state, "completed")
          const posted = provider.requests("token").map(({ form }) => form.get("code_verifier") ?? "")
          const secrets = {
            ticket: [offered.ticket, bound.ticket],
            state: [own, departure, held].map(({ authorizationUrl }) => secretOf(authorizationUrl, "state")),
            challenge: [own, departure, held].map((one) => secretOf(one.authorizationUrl, "code_challenge")),
            binding: [Redacted.value(browser)],
            code: [Redacted.value(back.received.code!)],
            completion: [completionCode],
            verifier: posted
          }
          assert.strictEqual(posted.length, 3)
          const found = CanaryScan.make(
            Object.entries(secrets).flatMap(([kind, all]) =>
              all.map((text) => ({ kind, unique: text.replace(/^CANARY-\w+-/, "") }))
            )
          )
          for (const part of [stolen.rows.join("\n"), ...stolen.files]) {
            assert.strictEqual(CanaryScan.format(found.bytes(name, part)), "")
          }
        }).pipe(Effect.provide(Installation.layer(layer)))
      }).pipe(Effect.scoped))
  }
})
