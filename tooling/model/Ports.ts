import { AuthorizationServer, type RedemptionError } from "@valetkey/domain/AuthorizationServer"
import type { CallbackTransports } from "@valetkey/domain/CallbackTransport"
import type { CheckpointName } from "@valetkey/domain/Checkpoint"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import type { Credentials } from "@valetkey/domain/Credentials"
import { FlowStore } from "@valetkey/domain/FlowStore"
import { connectionTopic, flowTopic, Signals, type Topic } from "@valetkey/domain/Signals"
import { Spool } from "@valetkey/domain/Spool"
import { StateTags } from "@valetkey/domain/StateTags"
import { StoreError } from "@valetkey/domain/StoreError"
import { DateTime, Effect, Option, Redacted } from "effect"
import type { Process } from "./Process.ts"
import { busy, type Issued, unknown } from "./Provider.ts"

const unavailable = (operation: string) => new StoreError({ code: "store_unavailable", operation })

/** Makes a call of a store a turn of its own: it happens when it is chosen, fails before or after it happened, or outlives who made it. */
const stepping = (process: Process, port: string) =>
<A, E>(
  operation: string,
  effect: Effect.Effect<A, E>,
  options: { readonly writes: boolean; readonly note?: (value: A) => void }
): Effect.Effect<A, E | StoreError> => {
  const name = `${port}.${operation}`
  const { note } = options
  const whole = note === undefined ? effect : Effect.map(effect, (value) => {
    note(value)
    return value
  })
  return Effect.callback<A, E | StoreError>((resume) => {
    const { stage } = process.theatre
    const turn = {
      name,
      process,
      happen: (fault: "none" | "before" | "after") => {
        if (fault === "before") resume(Effect.fail(unavailable(name)))
        else resume(fault === "none" ? whole : Effect.andThen(whole, Effect.fail(unavailable(name))))
      },
      alone: options.writes ? () => void Effect.runForkWith(process.context)(Effect.exit(whole)) : undefined
    }
    stage.turns.push(turn)
    // A statement that was sent is not called back.
    return Effect.sync(() => {
      if (!stage.turns.includes(turn)) return
      stage.forget(turn)
      stage.leave(turn)
    })
  })
}

/** What a store tells other replicas with a commit. */
const tell = (process: Process, topic: Topic): void => {
  const { scene, stage } = process.theatre
  for (const other of scene.processes) {
    if (other === process) continue
    const happen = (fault: string) => fault === "none" ? other.hear(topic) : undefined
    stage.turns.push({ name: "signal", process: other, happen })
  }
}

export const connections = (process: Process): ConnectionStore["Service"] => {
  const { theatre } = process
  const { connections: store } = theatre
  const step = stepping(process, "connections")
  const read = { writes: false }
  return ConnectionStore.of({
    ...store,
    get: (key) => step("get", store.get(key), read),
    isCommitted: (key, id) => step("isCommitted", store.isCommitted(key, id), read),
    claim: (key, input) =>
      step("claim", store.claim(key, input), {
        writes: true,
        note: (outcome) => theatre.judge.redemptions.claimed(outcome)
      }),
    markSent: (key, input) =>
      step("markSent", store.markSent(key, input), {
        writes: true,
        note: (marked) => theatre.judge.redemptions.marked(process, input, marked)
      }),
    commit: (key, input) =>
      step("commit", store.commit(key, input), {
        writes: true,
        note: (done) => {
          theatre.judge.redemptions.committed(input, done)
          if (done) tell(process, connectionTopic(key))
        }
      }),
    fail: (key, input) =>
      step("fail", store.fail(key, input), {
        writes: true,
        note: (recorded) => {
          const { lives, redemptions } = theatre.judge
          redemptions.failed(input, { recorded, wasSent: lives.rowOf(key.path)?.phase === "sent" })
        }
      }),
    reject: (key, input) => step("reject", store.reject(key, input), { writes: true }),
    deposit: (key, input) => step("deposit", store.deposit(key, input), { writes: true }),
    disconnect: (key, epoch) => step("disconnect", store.disconnect(key, epoch), { writes: true })
  })
}

export const flows = (process: Process): FlowStore["Service"] => {
  const { theatre } = process
  const { flows: store } = theatre
  const step = stepping(process, "flows")
  const writes = { writes: true }
  return FlowStore.of({
    ...store,
    reserve: (input) => step("reserve", store.reserve(input), writes),
    claim: (input) => step("claim", store.claim(input), writes),
    complete: (id, fence, write) =>
      step("complete", store.complete(id, fence, write), {
        writes: true,
        note: ({ _tag }) => _tag === "Completed" ? tell(process, flowTopic(id)) : undefined
      }),
    fail: (id, fence, failure) =>
      step("fail", store.fail(id, fence, failure), {
        writes: true,
        note: (done) => done ? tell(process, flowTopic(id)) : undefined
      }),
    cancel: (input) => step("cancel", store.cancel(input), writes),
    get: (input) => step("get", store.get(input), { writes: false })
  })
}

/** A spool for each slot: a process that begins finds what the one before left. */
export const spool = (process: Process): Spool["Service"] => {
  const step = stepping(process, "spool")
  const entries = () => process.theatre.scene.spools[process.slot]!
  return Spool.of({
    append: (entry) =>
      step("append", Effect.sync(() => void entries().set(entry.id, entry)), {
        writes: false,
        note: () => process.theatre.judge.redemptions.spooled(entry)
      }),
    remove: (id) => step("remove", Effect.sync(() => void entries().delete(id)), { writes: false }),
    find: (key, { epoch, redeemed }) =>
      Effect.sync(() =>
        Option.fromUndefinedOr(
          [...entries().values()].find((one) =>
            one.key.path === key.path && one.epoch === epoch && one.redeemed === redeemed
          )
        )
      ),
    list: Effect.sync(() => [...entries().values()])
  })
}

export const signals = (process: Process): Signals["Service"] =>
  Signals.of({
    notify: (topic) =>
      Effect.sync(() => {
        process.hear(topic)
        tell(process, topic)
      }),
    wake: (topic) => Effect.sync(() => process.hear(topic)),
    subscribe: process.hub.subscribe,
    observe: process.hub.observe,
    listen: (listener) => Effect.sync(() => void process.listeners.push(listener))
  })

/** A request is on its way by itself: the provider hears it whatever becomes of who sent it. */
const asking = (
  process: Process,
  what: string,
  send: () => {
    hear(): Issued | RedemptionError
    answered(answer: Issued | RedemptionError): void
  }
) =>
  Effect.callback<Credentials, RedemptionError>((resume) => {
    const { stage } = process.theatre
    const { answered, hear } = send()
    let waits = true
    const answer = (came: Issued | RedemptionError): void => {
      if (!waits || !process.alive) return
      stage.turns.push({
        name: `${what} answer`,
        process,
        happen: (fault) => {
          // Nothing comes for as long as it is waited for.
          if (!waits || fault === "before") return
          const shown = fault === "after" ? unknown : came
          answered(shown)
          resume(
            "accessToken" in shown ? Effect.succeed(process.theatre.scene.credentialsOf(shown)) : Effect.fail(shown)
          )
        }
      })
    }
    stage.turns.push({
      name: `${what} request`,
      process: undefined,
      happen: (fault) => answer(fault === "none" ? hear() : fault === "before" ? unknown : busy)
    })
    return Effect.sync(() => void (waits = false))
  })

const never = Effect.die("no history asks for this")

export const authorizationServer = (process: Process): AuthorizationServer["Service"] => {
  const { theatre } = process
  return AuthorizationServer.of({
    discover: () => Effect.succeed(theatre.metadata),
    register: () => never,
    push: () => never,
    verifyResponse: () => never,
    authorizeDevice: () => never,
    poll: () => never,
    obtain: () => never,
    expiryOf: () => Effect.undefined,
    authorizationUrl: (request) => Effect.sync(() => theatre.scene.browsers.authorizationUrl(request)),
    exchange: ({ code }) =>
      asking(process, "exchange", () => ({
        hear: () => {
          theatre.judge.redemptions.exchanged(Redacted.value(code))
          return theatre.scene.provider.exchange(Redacted.value(code))
        },
        answered: () => {}
      })),
    refresh: (_, { refreshToken }) =>
      asking(process, "refresh", () => {
        const token = Redacted.value(refreshToken)
        const request = theatre.judge.redemptions.sent(process, token)
        return {
          hear: () => {
            const heard = theatre.scene.provider.redeem(token, theatre.stage.now)
            theatre.judge.redemptions.heard(request, heard)
            return heard
          },
          answered: (answer) => theatre.judge.redemptions.answered(request, answer)
        }
      }),
    revoke: (_, { token }) =>
      Effect.sync(() => {
        theatre.scene.provider.revoke(Redacted.value(token))
        return "confirmed" as const
      })
  })
}

/** One way back for every replica, as the gateway is; nothing is opened for it. */
export const transports: CallbackTransports["Service"] = {
  preferred: "gateway",
  get: () =>
    Effect.succeed({
      kind: "gateway",
      stateless: true,
      open: ({ context }) => Effect.succeed({ redirectUri: `https://valetkey.example/callback/${context}` })
    })
}

export const stateTags = (process: Process): StateTags["Service"] =>
  StateTags.of({
    issue: Effect.sync(() => Redacted.make(`state-${process.theatre.stage.next()}`)),
    judge: (state) => Effect.succeed(Redacted.value(state).startsWith("state-") ? "ours" : "foreign")
  })

/** Between a mark and its request, where a pause eats the lease. Everywhere else a call of a port is a turn. */
export const checkpoints = (process: Process) => (name: CheckpointName): Effect.Effect<void> =>
  name !== "refresh.sent" && name !== "refresh.after_commit"
    ? Effect.void
    : Effect.callback((resume) => {
      const { stage } = process.theatre
      stage.turns.push({ name, process, happen: () => resume(Effect.void) })
    })

export const credentialsOf = (issued: Issued, now: number, lifetime: number): Credentials => ({
  accessToken: Redacted.make(issued.accessToken),
  refreshToken: issued.refreshToken === undefined ? undefined : Redacted.make(issued.refreshToken),
  tokenType: "Bearer",
  issuedAt: DateTime.makeUnsafe(now),
  expiresAt: DateTime.makeUnsafe(now + lifetime)
})
