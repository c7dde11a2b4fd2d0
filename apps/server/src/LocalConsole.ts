import { ApiProblem } from "@valetkey/api/ApiProblem"
import { linkLife, sessionLife } from "@valetkey/domain/ConsoleSession"
import { Context, Duration, Effect, RcRef, Scope } from "effect"
import { Draining } from "./Draining.ts"
import * as Listeners from "./Listeners.ts"

/** Long enough for the last session that may come of the last link. */
const life = Duration.sum(linkLife, sessionLife)

/**
 * Makes the address of the console for a server without a public URL: a listener of its own on 127.0.0.1, opened when
 * somebody asks for a link and closed when no session can be left. Whoever asks after a failure has it tried again.
 */
export const make = Effect.gen(function*() {
  const context = yield* Effect.context<Effect.Services<ReturnType<typeof consoleAt>>>()
  const open = Effect.gen(function*() {
    let origin = ""
    const { loaded, reachable } = yield* Listeners.open({
      address: { host: "127.0.0.1", port: 0 },
      application: Effect.suspend(() => consoleAt(origin)),
      leaving: (yield* Draining).wait
    })
    origin = reachable
    yield* loaded
    return new URL(reachable)
  })
  const listener = yield* RcRef.make({
    // Whoever asks is a request of another listener, whose rules are not those of this one.
    acquire: Effect.updateContext(
      open,
      (request: Context.Context<Scope.Scope>) => Context.add(context, Scope.Scope, Context.get(request, Scope.Scope))
    ),
    idleTimeToLive: life
  })
  return Effect.scoped(RcRef.get(listener)).pipe(
    Effect.tapError((error) => Effect.logWarning("no listener for the console", error)),
    Effect.mapError(() => unavailable)
  )
})

const unavailable = ApiProblem.of(
  "console_port_unavailable",
  "No port of 127.0.0.1 could be opened for the console; try again, or free ports and file descriptors of the server's user"
)

const consoleAt = (origin: string) =>
  Effect.flatMap(Effect.promise(() => import("./Applications.ts")), (applications) => applications.console(origin))
