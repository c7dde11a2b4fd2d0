import { Context, type DateTime, Duration, Effect, Layer, Option, type Redacted, Schedule } from "effect"
import type { AuditTrail } from "./AuditTrail.ts"
import * as CompareCode from "./CompareCode.ts"
import {
  consoleScopes,
  type ConsoleSession,
  ConsoleSessionId,
  idleLife,
  linkLife,
  sessionLife,
  visitCoarseness
} from "./ConsoleSession.ts"
import { ConsoleStore } from "./ConsoleStore.ts"
import { Entropy } from "./Entropy.ts"
import { makeAuditing } from "./internal/auditing.ts"
import type { StoreError } from "./StoreError.ts"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/** A way into the console for one browser. The ticket is in this answer and nowhere else, ever. */
export interface ConsoleLink {
  readonly ticket: Redacted.Redacted
  /** What the page behind the link shows too. */
  readonly compareCode: CompareCode.CompareCode
  readonly expiresAt: DateTime.Utc
}

/** What a link offers to the person who opens it. */
export interface ConsoleInvitation {
  readonly session: ConsoleSession
  readonly compareCode: CompareCode.CompareCode
  /** Whether a browser is in already. */
  readonly taken: boolean
}

const batch = 100

/** Use case: letting a person's browser in, who has no credential of their own there, and keeping it in for a while. */
export class Consoles extends Context.Service<Consoles, {
  /** Makes a link for the caller's own browser. The session may do no more than its caller, and no more than the console needs. */
  link(caller: {
    readonly tenant: TenantId
    readonly subject: SubjectId
    readonly scopes: ReadonlyArray<string>
  }): Effect.Effect<ConsoleLink, StoreError>
  /** What a ticket leads to; none when it leads nowhere. Looking changes nothing. */
  invitation(ticket: Redacted.Redacted): Effect.Effect<Option.Option<ConsoleInvitation>, StoreError>
  /** Lets the first browser in that asks, with a secret that it alone knows; none for every other one. */
  enter(ticket: Redacted.Redacted): Effect.Effect<
    Option.Option<{ readonly session: ConsoleSession; readonly secret: Redacted.Redacted }>,
    StoreError
  >
  /** The session of a browser; none when it has ended, whatever ended it. */
  session(secret: Redacted.Redacted): Effect.Effect<Option.Option<ConsoleSession>, StoreError>
  /** Ends a session on every replica. Idempotent. */
  leave(secret: Redacted.Redacted): Effect.Effect<void, StoreError>
}>()("@valetkey/domain/Consoles") {
  /** Layer of the use case. */
  static readonly layer: Layer.Layer<Consoles, never, AuditTrail | ConsoleStore | Entropy> = Layer.effect(
    Consoles,
    Effect.gen(function*() {
      const store = yield* ConsoleStore
      const entropy = yield* Entropy
      const audit = yield* makeAuditing

      return Consoles.of({
        link: Effect.fn("Consoles.link")(function*({ scopes, subject, tenant }) {
          const ticket = yield* entropy.secret
          const { expiresAt } = yield* store.offer({
            id: ConsoleSessionId.make(yield* entropy.id),
            tenant,
            subject,
            scopes: scopes.filter((scope) => consoleScopes.includes(scope))
          }, { ticketHash: entropy.digest(ticket), within: linkLife })
          yield* audit({ tenant, subject }, "console.link_created", "ok")
          return { ticket, expiresAt, compareCode: CompareCode.ofTicket(entropy, ticket) }
        }),
        invitation: (ticket) =>
          Effect.map(
            store.find(entropy.digest(ticket)),
            Option.map((found) => ({ ...found, compareCode: CompareCode.ofTicket(entropy, ticket) }))
          ),
        enter: Effect.fn("Consoles.enter")(function*(ticket) {
          const secret = yield* entropy.secret
          const taken = yield* store.take({
            ticketHash: entropy.digest(ticket),
            sessionHash: entropy.digest(secret),
            lifetime: sessionLife
          })
          if (Option.isNone(taken)) return Option.none()
          yield* audit(taken.value, "console.signed_in", "ok")
          return Option.some({ session: taken.value, secret })
        }),
        session: (secret) =>
          store.visit({ sessionHash: entropy.digest(secret), idle: idleLife, coarseness: visitCoarseness }),
        leave: Effect.fn("Consoles.leave")(function*(secret) {
          const ended = yield* store.end(entropy.digest(secret))
          if (Option.isSome(ended)) yield* audit(ended.value, "console.signed_out", "ok")
        })
      })
    })
  )

  /** Layer that forgets what is over, every minute until the scope ends. */
  static readonly layerSweep: Layer.Layer<never, never, ConsoleStore> = Layer.effectDiscard(
    Effect.gen(function*() {
      const store = yield* ConsoleStore
      yield* Effect.repeat(store.sweep(batch), { until: (forgotten) => forgotten < batch }).pipe(
        Effect.catchCause((cause) => Effect.logWarning("sessions that are over not forgotten", cause)),
        Effect.repeat(Schedule.jittered(Schedule.spaced(Duration.minutes(1)))),
        Effect.forkScoped
      )
    })
  )
}
