import { Clock, Duration, Effect, type Redacted } from "effect"
import * as Browser from "./Browser.ts"
import { type CliFailure, failure } from "./CliFailure.ts"
import { Output, plain } from "./Output.ts"
import * as PastedUrl from "./PastedUrl.ts"
import type { Remote } from "./Remote.ts"
import { forwardLine, type Ssh } from "./Ssh.ts"
import { type Flow, operations } from "./Wire.ts"
import { formatDuration } from "./Words.ts"

/** What a person must do, by when. */
export interface Asked {
  readonly flowId: string
  /** Of the provider, or of the connect page. */
  readonly url: string
  /** What the connect page shows too. */
  readonly compareCode?: string
  readonly expiresAt: string
  /** Where the answer arrives, when that is a listener of the server's machine. */
  readonly listener?: URL
}

/** How a command shows the URL. */
export interface Showing {
  readonly noBrowser: boolean
  /** The session over SSH at whose other end the browser is. */
  readonly ssh: Ssh | undefined
}

/** Shows the URL or opens it, and waits until the flow is settled. */
export const accompany = Effect.fnUntraced(function*(remote: Remote, server: string, asked: Asked, showing: Showing) {
  const output = yield* Output
  const { compareCode, listener, url } = asked
  if (compareCode !== undefined) {
    yield* output.say(`The page must show this code: ${plain(compareCode)}`)
  }
  const refused = yield* show(server, url, showing)
  if (listener !== undefined && showing.ssh !== undefined) {
    yield* output.say("The browser comes back to this machine. On yours, keep this running meanwhile:")
    yield* output.say(`  ${forwardLine(showing.ssh, listener)}`)
  }
  const byHand = refused === undefined ? carry(remote, asked) : refused.pipe(
    Effect.andThen(output.say(`${Browser.notOpened}: ${plain(url)}`)),
    Effect.andThen(carry(remote, asked))
  )
  yield* output.say("Waiting for consent; press Ctrl+C to cancel")
  const deadline = Date.parse(asked.expiresAt)
  const meanwhile = Effect.raceFirst(progress(deadline), byHand)
  return yield* Effect.raceFirst(poll(remote, asked.flowId, deadline), meanwhile)
})

/** Says how a browser that reaches no listener is helped, and takes the addresses that a person pastes. */
const carry = Effect.fnUntraced(function*(remote: Remote, { flowId, listener }: Asked) {
  const output = yield* Output
  if (listener === undefined) return yield* Effect.never
  if (!output.json && PastedUrl.isOffered()) {
    return yield* PastedUrl.each(
      output.say(
        "Where the browser ends at a page that it cannot reach, paste the address of that page here and press Enter"
      ),
      (address) => handOver(remote, flowId, address)
    )
  }
  yield* output.say(
    `Where the browser ends at a page that it cannot reach, pass its address on: valetkey callback ${flowId} < FILE`
  )
  return yield* Effect.never
})

/** Opens the URL, or shows it where no browser is wanted or found: then there is nothing that could be refused. */
const show = Effect.fnUntraced(function*(server: string, url: string, { noBrowser, ssh }: Showing) {
  const output = yield* Output
  if (noBrowser || ssh !== undefined && !hasBrowser(process.env["BROWSER"])) {
    yield* output.say("Open this URL to give consent:")
    yield* output.json ? output.say(plain(url)) : output.data(plain(url))
    return undefined
  }
  yield* output.say(`Opening the browser to connect ${server}`)
  return yield* Browser.open(url).pipe(
    Effect.catch((error) =>
      /^https?:/.test(url) ? Effect.as(output.say(`${error.message}: ${plain(url)}`), undefined) : Effect.fail(error)
    )
  )
})

/** Hands a pasted address over. What becomes of the flow is for whoever asks for it. */
const handOver = Effect.fnUntraced(function*(remote: Remote, flowId: string, address: Redacted.Redacted) {
  const output = yield* Output
  yield* remote.call(operations.paste, { flowId, address }).pipe(
    Effect.catch((error) => output.say(plain(error.message)))
  )
})

const hasBrowser = (browser: string | undefined): boolean => browser !== undefined && browser !== ""

/** Asks until the flow is settled. A broken way is asked again, a definite answer ends it at once. */
const poll = Effect.fnUntraced(function*(remote: Remote, flowId: string, deadline: number) {
  let brokenSince: number | undefined
  let pause = 100
  while (true) {
    const now = yield* Clock.currentTimeMillis
    // The server settles an overdue flow; the extra seconds leave it the time to do so.
    if (now > deadline + 10_000) return yield* failure("flow_expired", "Nobody gave consent in time; start again")
    const answer = yield* Effect.result(remote.call(operations.flow, { flowId, wait: 25 }))
    if (answer._tag === "Success") {
      brokenSince = undefined
      pause = 100
      if (isSettled(answer.success)) return answer.success
      continue
    }
    if (answer.failure.transient !== true) return yield* answer.failure
    brokenSince ??= now
    if (now - brokenSince > brokenFor) return yield* answer.failure
    yield* Effect.sleep(Duration.millis(pause))
    pause = Math.min(pause * 2, 2000)
  }
}) as (remote: Remote, flowId: string, deadline: number) => Effect.Effect<Flow, CliFailure>

const isSettled = ({ status }: Flow): boolean =>
  status !== "pending" && status !== "exchanging" && status !== "awaiting_finalize"

/** How long the way to the server may stay broken, such as while it restarts. */
const brokenFor = 20_000

/** Tells how long it took and how long is left. */
const progress = Effect.fnUntraced(function*(deadline: number) {
  const output = yield* Output
  const began = yield* Clock.currentTimeMillis
  for (let frame = 0;; frame++) {
    yield* Effect.sleep(output.watched ? "120 millis" : "30 seconds")
    const now = yield* Clock.currentTimeMillis
    const elapsed = formatDuration(now - began)
    const left = formatDuration(deadline - now)
    yield* output.watched
      ? output.status(`${spinner[frame % spinner.length] ?? ""} ${elapsed} elapsed, ${left} left`)
      : output.say(`Still waiting: ${elapsed} elapsed, ${left} left`)
  }
}) as (deadline: number) => Effect.Effect<never, never, Output>

const spinner = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"]
