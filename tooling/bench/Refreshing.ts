import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import * as Reply from "@valetkey/testing/Reply"
import { Effect, Redacted, type Scope } from "effect"
import { randomBytes } from "node:crypto"
import { join } from "node:path"
import * as Child from "../chaos/Child.ts"
import * as TemporaryDirectory from "../proofs/TemporaryDirectory.ts"
import { type Figures, race } from "./Race.ts"
import type { Asked, Order, Prepared } from "./RefreshOrders.ts"
import type { Section } from "./Table.ts"

const replicas = 4
const callers = 250
const credentials = 200
/** How long the provider takes for an answer. */
const latency = "100 millis"

/** A process of a contestant. */
interface Contestant {
  readonly child: Child.Child
  prepare(rows: ReadonlyArray<Prepared>): Promise<void>
  ask(names: ReadonlyArray<string>, callers: number): Promise<Asked>
}

/**
 * Refreshing on four replicas beside the least that does it, with a provider that ends the consent when a refresh token
 * comes twice: a crowd on one expired token, many tokens that expire at once, and the death of an owner.
 */
export const refreshing = (rounds: number): Promise<ReadonlyArray<Section>> =>
  Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const provider = yield* FakeProvider.make({ rotation: "rotate-revoke-family", keepLog: false })
    provider.always("token", Reply.before(Effect.sleep(latency)))
    const directory = yield* TemporaryDirectory.make
    const { url } = yield* EmbeddedPostgres.make()
    const keys = `1:${randomBytes(32).toString("base64")}`
    let started = 0
    const ours = start(new URL("./RefreshProcess.ts", import.meta.url), () => [
      Redacted.value(url),
      provider.issuer,
      keys,
      join(directory, `spool-${++started}.db`)
    ])
    const floor = start(new URL("./floors/refresh.ts", import.meta.url), () => [
      Redacted.value(url),
      `${provider.issuer}/token`
    ])
    const several = (contestant: Effect.Effect<Contestant, never, Scope.Scope>) =>
      Effect.all(Array.from({ length: replicas }, () => contestant))
    const fields = { floor: yield* several(floor), ours: yield* several(ours) }

    let names = 0
    const expired = async (field: ReadonlyArray<Contestant>, count: number): Promise<ReadonlyArray<Prepared>> => {
      const rows = Array.from({ length: count }, (): Prepared => {
        const { accessToken, refreshToken } = provider.grant()
        return {
          name: `bench-${++names}`,
          accessToken: Redacted.value(accessToken),
          refreshToken: Redacted.value(refreshToken)
        }
      })
      await field[0]!.prepare(rows)
      return rows
    }

    /** Until the last caller of all replicas has a token; each refresh token must have arrived exactly once. */
    const round = async (field: ReadonlyArray<Contestant>, count: number, each: number): Promise<number> => {
      const rows = await expired(field, count)
      const asked = await Promise.all(field.map((replica) => replica.ask(rows.map(({ name }) => name), each)))
      const tokens = new Set(asked.flatMap(({ tokens }) => tokens))
      if (rows.some(({ refreshToken }) => provider.tokenCount(refreshToken) !== 1)) {
        throw new Error("a refresh token did not arrive exactly once")
      }
      if (tokens.size !== count || ![...tokens].every((token) => provider.isActive(token))) {
        throw new Error("a caller has a token that is not the one that was issued")
      }
      return Math.max(...asked.map(({ seconds }) => seconds))
    }

    /** From the death of an owner that has claimed until another replica has the new token. */
    const takeover = async (): Promise<number> => {
      const [row] = await expired(fields.ours, 1)
      return Effect.runPromise(Effect.scoped(Effect.gen(function*() {
        const owner = yield* ours
        return yield* Effect.promise(async () => {
          const armed = owner.child.message("armed")
          owner.child.process.send({ arm: "refresh.claimed", misfortune: "kill" })
          await armed
          void owner.ask([row!.name], 1)
          await owner.child.ended
          const { seconds } = await fields.ours[1]!.ask([row!.name], 1)
          if (provider.tokenCount(row!.refreshToken) !== 1) throw new Error("the takeover redeemed twice")
          return seconds
        })
      })))
    }

    return yield* Effect.promise(async () => {
      const beside = (count: number, each: number): Promise<ReadonlyArray<Figures>> =>
        race(rounds, [
          ["one flight, lease row, NOTIFY, re-read", () => round(fields.floor, count, each)],
          ["AccessTokens.get", () => round(fields.ours, count, each)]
        ])
      return [
        {
          title: `${replicas} replicas × ${callers} callers on one expired token, until the last has it`,
          unit: "seconds",
          figures: await beside(1, callers),
          limits: { "AccessTokens.get": { atMost: 1.2 } }
        },
        {
          title: `${credentials} tokens that expire at once on ${replicas} replicas, until the last caller has one`,
          unit: "seconds",
          figures: await beside(credentials, 2 * credentials),
          limits: { "AccessTokens.get": { atMost: 1.1 } }
        },
        {
          title: "SIGKILL of an owner that has claimed, until another replica has the new token",
          unit: "seconds",
          figures: await race(rounds, [["limit of one second", () => Promise.resolve(1)], [
            "another replica",
            takeover
          ]]),
          limits: { "another replica": { atMost: 1 } }
        }
      ]
    })
  })))

/** Starts one process of a contestant; the scope ends it. */
const start = (module: URL, args: () => ReadonlyArray<string>): Effect.Effect<Contestant, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async (): Promise<Contestant> => {
      const child = Child.start(module, { args: args(), env: { PATH: process.env["PATH"], HOME: process.env["HOME"] } })
      await child.message("ready")
      // One order at a time. What an injection point says of itself comes in between.
      const order = <A>(order: Order): Promise<A> =>
        new Promise((resolve, reject) => {
          const hear = (answer: { readonly done?: A; readonly failed?: string }): void => {
            if (answer.done === undefined && answer.failed === undefined) return
            child.process.off("message", hear)
            if (answer.done === undefined) reject(new Error(answer.failed))
            else resolve(answer.done)
          }
          child.process.on("message", hear)
          child.process.send(order)
        })
      return {
        child,
        prepare: (rows) => order({ do: "prepare", rows }),
        ask: (names, callers) => order({ do: "ask", names, callers })
      }
    }),
    ({ child }) =>
      Effect.promise(async () => {
        child.process.kill("SIGKILL")
        await child.ended
      })
  )
