// A server as `apps/server` composes it, with the deadlines of a chaos run, a clock that may be off, a resolver that leads
// the provider's name to a line of this replica's own, points at which it can be hurt, and, to prove that the harness
// sees, a source that may be broken.
import { DeadlinesInForce } from "@valetkey/domain/Deadlines"
import { serve } from "@valetkey/server/Serve"
import * as ProcessInjection from "@valetkey/testing/ProcessInjection"
import { Clock, Effect, Layer } from "effect"
import { flushCompileCache } from "node:module"
import { Pulse } from "./Pulse.ts"
import { deadlines } from "./Timing.ts"
import * as Witness from "./Witness.ts"

process.on("disconnect", () => process.exit(1))

Witness.tell()

const offset = Number(process.env["CHAOS_CLOCK_OFFSET"] ?? 0)

/** The clock of a machine whose time of day is off. Durations are what they are everywhere. */
const clock = Effect.map(Clock.Clock, (honest): Clock.Clock =>
  Object.assign(Object.create(honest) as Clock.Clock, {
    currentTimeMillisUnsafe: () => honest.currentTimeMillisUnsafe() + offset,
    currentTimeMillis: Effect.map(honest.currentTimeMillis, (now) => now + offset),
    currentTimeNanosUnsafe: () => honest.currentTimeNanosUnsafe() + BigInt(offset) * 1_000_000n,
    currentTimeNanos: Effect.map(honest.currentTimeNanos, (now) => now + BigInt(offset) * 1_000_000n)
  }))

Effect.flatMap(clock, (clock) =>
  // One that is killed writes nothing of what it compiled.
  serve({ env: process.env, onReady: () => Effect.sync(() => flushCompileCache()) }).pipe(
    Effect.provide(Pulse.pipe(Layer.provideMerge(ProcessInjection.layerQuiet))),
    Effect.provideService(DeadlinesInForce, deadlines),
    offset === 0 ? (effect) => effect : Effect.provideService(Clock.Clock, clock)
  )).pipe(
    Effect.catch((error) =>
      Effect.sync(() => {
        process.stderr.write(`${error.code}: ${error.message}\n`)
        process.exitCode = 1
      })
    ),
    Effect.ensuring(Effect.sync(() => process.exit())),
    Effect.runFork
  )
