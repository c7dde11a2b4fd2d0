import { assert } from "@effect/vitest"
import { type Home, locate } from "@valetkey/client/Home"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { Context, Effect, Layer, Redacted, Schedule } from "effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Command from "../demo/Command.ts"
import * as Person from "../demo/Person.ts"
import * as Serving from "../demo/Serving.ts"
import * as Api from "./Api.ts"
import * as Rows from "./Rows.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

/** A `valetkey serve` with a home of its own, a provider, and a person. */
export class Playground extends Context.Service<Playground, {
  readonly directory: string
  readonly home: Home
  readonly env: Command.Environment
  readonly serving: Serving.Serving
  readonly provider: FakeProvider.FakeProvider
  readonly person: Person.Person
  readonly api: Api.Api
  /** A name that no test has used. */
  newName(): string
  /** Runs the command here, with more variables if wanted. */
  valetkey(
    args: ReadonlyArray<string>,
    options?: Partial<Command.CommandOptions>
  ): Effect.Effect<Command.Finished>
}>()("proofs/Playground") {
  /** Layer of a playground whose server has more variables. */
  static readonly layer = (more: Command.Environment = {}): Layer.Layer<Playground> =>
    Layer.effect(
      Playground,
      Effect.gen(function*() {
        const directory = yield* TemporaryDirectory.make
        const provider = yield* FakeProvider.make({ rotation: "rotate-revoke-family" })
        const person = yield* Person.make({ directory, chromium: false })
        const env = Command.environment(directory, {
          VALETKEY_HOME: join(directory, "home"),
          VALETKEY_LISTEN: "127.0.0.1:0",
          BROWSER: person.browser,
          ...more
        })
        const home = locate(env)
        const serving = yield* Effect.orDie(Serving.start(env))
        let names = 0
        return Playground.of({
          directory,
          home,
          env,
          serving,
          provider,
          person,
          api: apiOf(home, serving),
          newName: () => `case-${++names}`,
          valetkey: (args, options) => Command.valetkey(args, { env, ...options })
        })
      })
    )
}

/** The API of a local server over TCP, with its token of this boot. */
export const apiOf = (home: Home, serving: Serving.Serving): Api.Api =>
  Api.make(
    String((serving.ready["listen"] as ReadonlyArray<string>).at(-1)),
    Redacted.make(readFileSync(home.token, "utf8").trim())
  )

/** Runs an effect after which the provider is honest again. */
export const healed = <A, E, R>(act: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Playground> =>
  Effect.flatMap(Playground, ({ provider }) =>
    Effect.ensuring(
      act,
      Effect.sync(() => {
        provider.heal()
        provider.behaviour.consent = "approve"
      })
    ))

/** Runs an effect after which the installation holds exactly what it held before. */
export const leavesNothing = Effect.fnUntraced(function*<A, E, R>(act: Effect.Effect<A, E, R>) {
  const { home } = yield* Playground
  const before = Rows.count(home.database)
  const result = yield* healed(act)
  assert.deepStrictEqual(Rows.count(home.database), before)
  return result
})

/** Completes when housekeeping has settled every overdue flow and sent every revocation. */
export const settled: Effect.Effect<void, never, Playground> = Effect.gen(function*() {
  const { home } = yield* Playground
  yield* Effect.sync(() => Rows.count(home.database)).pipe(
    Effect.repeat({
      until: ({ openFlows, outbox }) => openFlows + outbox === 0,
      schedule: Schedule.spaced("50 millis")
    })
  )
})
