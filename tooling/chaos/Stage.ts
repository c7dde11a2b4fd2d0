import type { CheckpointName } from "@valetkey/domain/Checkpoint"
import type { Misfortune } from "@valetkey/testing/ProcessInjection"
import { Effect, type Scope } from "effect"
import { setTimeout as pause } from "node:timers/promises"
import type { Answer } from "./Callers.ts"
import * as Changes from "./Changes.ts"
import * as Deployment from "./Deployment.ts"
import type { Grant, Redemption, Subject } from "./History.ts"
import { providerHost, type Replica } from "./Replicas.ts"
import { timing } from "./Timing.ts"

/** A connection that was deposited and never refreshed. */
export interface Case extends Pick<Subject, "mode" | "policy"> {
  readonly subject: Subject
  readonly grant: Grant
}

/** Replicas that run, honest providers, and one step at a time. */
export interface Stage {
  readonly replicas: ReadonlyArray<Replica>
  /** A connection of its own for a case, through the last replica. */
  deposit(of: Pick<Subject, "mode" | "policy">, lifetimeSeconds?: number): Promise<Case>
  /** Asks one replica for a token, once. */
  ask(replica: Replica, of: Case, rejected?: string): Promise<Answer>
  /** Asks until the answer is a token or that a person has to consent. */
  askUntil(replica: Replica, of: Case): Promise<Answer>
  /** Has a replica meet something at a point of the refresh of this connection; what its caller is told. */
  strike(replica: Replica, of: Case, point: CheckpointName, misfortune: Misfortune): Promise<Answer>
  /** Completes when a replica that was told to go accepts nobody. */
  closed(replica: Replica): Promise<void>
  /** The redemptions of a connection that arrived. */
  arrivals(of: Case): Promise<ReadonlyArray<Redemption>>
  /** Why the person has to consent again, if that is so. */
  reason(of: Case): Promise<string | undefined>
}

/** Makes a stage of replicas that run; the scope ends them. */
export const make = (replicas: number): Effect.Effect<Stage, never, Scope.Scope> =>
  Effect.gen(function*() {
    const deployment = yield* Deployment.make({
      seed: 1,
      replicas,
      share: 0,
      // Small enough to be exhausted in a moment.
      env: { NODE_OPTIONS: "--max-old-space-size=192" }
    })
    const { callers, providers } = deployment
    const subjects: Array<Subject> = []
    yield* Effect.promise(async () => {
      const [first, ...others] = deployment.replicas
      await first?.start()
      await Changes.watch(deployment.postgres.url)
      await Promise.all(others.map((replica) => replica.start()))
    })

    const ask: Stage["ask"] = (replica, { subject }, rejected) =>
      callers.call(
        replica.api(),
        "POST",
        `/v1/connections/${subject.server}/token`,
        deployment.bearerOf(subject),
        rejected === undefined ? {} : { rejectedToken: rejected }
      )
    const arrivals: Stage["arrivals"] = async ({ grant }) =>
      (await providers.collect()).redemptions.filter((one) => one.grant === grant.id)
    return {
      replicas: deployment.replicas,
      deposit: async ({ mode, policy }, lifetimeSeconds = 3600) => {
        const id = subjects.length
        const subject: Subject = {
          id,
          mode,
          policy,
          lifetimeSeconds,
          tenant: "acme",
          subject: "ada",
          server: `server-${id}`
        }
        subjects.push(subject)
        const grant = await providers.grant({ grant: id + 1, connection: id, mode, lifetimeSeconds })
        const { status } = await callers.call(
          deployment.replicas.at(-1)!.api(),
          "PUT",
          `/v1/connections/${subject.server}`,
          deployment.bearerOf(subject),
          {
            tokenEndpoint: `http://${providerHost}:${providers.ports[mode]}/token`,
            refreshToken: grant.refreshToken,
            clientId: "fake-client",
            redemptionPolicy: policy
          }
        )
        if (status !== 201) throw new Error(`the deposit was answered ${status}`)
        return { subject, grant, mode, policy }
      },
      ask,
      askUntil: async (replica, of) => {
        const until = Date.now() + 3 * (timing.lease + timing.waiter)
        while (true) {
          const answer = await ask(replica, of)
          if (answer.status === 200 || answer.status === 409 || Date.now() > until) return answer
          await pause(100)
        }
      },
      strike: async (replica, of, point, misfortune) => {
        await replica.arm(point, misfortune)
        const answer = await ask(replica, of)
        if (answer.status === 0) {
          await replica.ended()
          callers.forget(replica.api())
        }
        return answer
      },
      closed: async (replica) => {
        while ((await callers.call(replica.api(), "GET", "/livez", "")).status === 200) await pause(20)
      },
      arrivals,
      reason: async ({ subject: { id } }) =>
        (await Changes.read(deployment.postgres.url, subjects)).filter(({ connection }) => connection === id).at(-1)
          ?.reason
    }
  })
