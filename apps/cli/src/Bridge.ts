import * as AuthorizedFetch from "@valetkey/client/AuthorizedFetch"
import * as ConsentingFetch from "@valetkey/mcp/ConsentingFetch"
import * as Relay from "@valetkey/mcp/Relay"
import { Deferred, Effect, Redacted, Semaphore } from "effect"
import { askPerson } from "./BridgeConsent.ts"
import { CliFailure, failure } from "./CliFailure.ts"
import * as Interrupts from "./Interrupts.ts"
import { linesOf } from "./Lines.ts"
import { Output, plain } from "./Output.ts"
import { knownAs, serverOf, targetOf } from "./ServerTarget.ts"
import * as Ssh from "./Ssh.ts"
import { reach, resolve } from "./Target.ts"
import { reconnectHint } from "./Token.ts"
import { operations } from "./Wire.ts"

/** Passes messages between stdin, stdout and a remote MCP server, until stdin ends or a signal comes. */
export const bridge = Effect.fnUntraced(function*(input: {
  readonly target: string
  readonly endpoint: string | undefined
  readonly noBrowser: boolean
}) {
  const lines = linesOf(process.stdin)
  const found = yield* Effect.result(find(input))
  if (found._tag === "Failure") {
    // A client shows what it is answered, and rarely what its programs say.
    const { value } = yield* Effect.promise(() => lines.next())
    if (typeof value === "string") yield* write(Relay.refusal(value, explain(found.failure)))
    return yield* found.failure
  }
  const { server, url } = found.success
  const output = yield* Output
  const fetches = yield* fetchesOf(server, input.noBrowser)
  const ended = yield* untilSignal
  yield* Effect.raceFirst(
    ended,
    Relay.run({
      ...fetches,
      url,
      lines,
      write,
      say: (text) => output.say(`valetkey: ${plain(text)}`),
      explain
    })
  )
})

/** The server and its endpoint. A URL that nobody knows is added. */
const find = Effect.fnUntraced(function*(input: { readonly target: string; readonly endpoint: string | undefined }) {
  const target = yield* targetOf(input.target, undefined)
  const remote = yield* reach({ start: true })
  const known = target.url === undefined ? undefined : yield* knownAs(remote, target.server, target.url)
  const { server } = known === undefined ? yield* serverOf(remote, target) : { server: known }
  const resource = target.url ?? new URL((yield* remote.call(operations.server, server)).resource)
  if (input.endpoint === undefined) return { server, url: resource }
  const url = URL.parse(input.endpoint)
  if (url === null || url.origin !== resource.origin) {
    return yield* failure("usage", `--endpoint must be a URL of ${plain(resource.origin)}: the token is for that alone`)
  }
  return { server, url }
})

/** The requests of a person's client, and those that nobody waits for. */
const fetchesOf = Effect.fnUntraced(function*(server: string, noBrowser: boolean) {
  const { _tag: place } = yield* resolve
  const reached = reach({ start: true })
  const context = yield* Effect.context<Effect.Services<typeof reached> | Output>()
  const run = <A, E>(effect: Effect.Effect<A, E, Effect.Services<typeof reached> | Output>, signal?: AbortSignal) =>
    Effect.runPromiseWith(context)(effect, signal === undefined ? {} : { signal })
  // One at a time, so that messages leave in the order in which they came.
  const turn = Semaphore.makeUnsafe(1)
  const authorized = AuthorizedFetch.make(
    {
      token: (name, options) =>
        turn.withPermits(1)(
          // A local server that ended meanwhile is started again.
          reached.pipe(
            Effect.flatMap((remote) =>
              remote.call(operations.token, {
                server: name,
                ...(options?.rejected === undefined ? {} : { rejectedToken: Redacted.value(options.rejected) }),
                ...(options?.proof === undefined ? {} : { proof: options.proof })
              })
            ),
            Effect.mapError(reconnectHint(name)),
            Effect.map(({ accessToken, proof, ...token }) => ({
              ...token,
              accessToken: Redacted.make(accessToken),
              ...(proof === undefined ? {} : { proof: Redacted.make(proof) })
            }))
          )
        ),
      server: (name) => Effect.flatMap(reached, (remote) => remote.call(operations.server, name))
    },
    run,
    server
  )
  const ssh = place === "local" ? Ssh.sessionOf(process.env) : undefined
  const ask = askPerson(server, { noBrowser, ssh })
  return {
    background: authorized,
    fetch: ConsentingFetch.make({
      authorized,
      needsPerson: (error) => error instanceof CliFailure && ConsentingFetch.isUnconnected(error.code),
      obtain: (missing) => run(Effect.flatMap(reached, (remote) => ask(remote, missing))),
      maxConsents: 3
    })
  }
})

/** Writes a line and returns when the client has room for another. */
const write = (line: string): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (process.stdout.write(`${line}\n`)) return resume(Effect.void)
    process.stdout.once("drain", () => resume(Effect.void))
  })

/** Ends when the client wants it, or reads no more. */
const untilSignal = Effect.sync(() => {
  const ended = Deferred.makeUnsafe<void>()
  const end = () => void Deferred.doneUnsafe(ended, Effect.void)
  Interrupts.own()
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, end)
  process.stdout.on("close", end).on("error", end)
  return Deferred.await(ended)
})

const explain = (error: unknown): Relay.RpcError => {
  if (error instanceof CliFailure) {
    return {
      code: Relay.relayErrorCode,
      message: plain(error.sentence),
      data: { code: error.code, ...error.details }
    }
  }
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown }
  if (typeof code === "string" && typeof message === "string" && "_tag" in (error as object)) {
    return { code: Relay.relayErrorCode, message: plain(message), data: { code } }
  }
  if (process.env["VALETKEY_DEBUG"] !== undefined) console.error(error)
  return { code: -32603, message: "Something went wrong inside the bridge; VALETKEY_DEBUG=1 shows what" }
}
