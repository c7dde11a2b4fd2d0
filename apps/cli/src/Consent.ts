import { Clock, Deferred, Duration, Effect, Option, Redacted } from "effect"
import * as Browser from "./Browser.ts"
import { type CliFailure, failure, textOf } from "./CliFailure.ts"
import { Output, plain } from "./Output.ts"
import * as PastedUrl from "./PastedUrl.ts"
import type { Remote } from "./Remote.ts"
import type { ShownWay } from "./ShownWay.ts"
import { forwardLine, isLoopback, type Ssh } from "./Ssh.ts"
import { type Flow, operations, type Ready } from "./Wire.ts"
import { formatDuration } from "./Words.ts"

/** How a command shows the URL. */
export interface Showing {
  readonly noBrowser: boolean
  /** The session over SSH at whose other end the browser is. */
  readonly ssh: Ssh | undefined
}

/** Shows what the person consents with, or opens it, and waits until the flow is settled. */
export const accompany = Effect.fnUntraced(function*(remote: Remote, server: string, way: ShownWay, showing: Showing) {
  const ready = way.first
  const deadline = Date.parse(ready.expiresAt)
  const moved = yield* Deferred.make<void>()
  const meanwhile = "userCode" in ready
    ? Effect.andThen(showCode(ready), waiting(progress(deadline)))
    : yield* showUrl(remote, server, ready, way, showing)
  return yield* Effect.raceFirst(
    poll(
      remote,
      ready.flowId,
      (flow) => way.isGone(flow) ? Effect.asVoid(Deferred.succeed(moved, undefined)) : Effect.void
    ),
    Effect.andThen(Effect.raceFirst(meanwhile, Deferred.await(moved)), watchOn(deadline))
  )
})

/** Goes away for good: takes the flow along, unless somebody goes on with it in another way than was shown here. */
export const leave = Effect.fnUntraced(function*(remote: Remote, way: ShownWay) {
  const output = yield* Output
  const { flowId } = way.first
  const told = yield* remote.call(operations.flow, { flowId, wait: 0 }).pipe(
    Effect.flatMap((flow) =>
      isSettled(flow)
        ? Effect.succeed("The flow ended meanwhile")
        : way.isGone(flow)
        ? Effect.succeed("Stopped waiting; the flow goes on where another command shows how")
        : Effect.as(remote.call(operations.cancel, flowId), "Cancelled")
    ),
    Effect.timeoutOption("3 seconds"),
    Effect.orElseSucceed(Option.none)
  )
  yield* output.say(
    Option.getOrElse(told, () => "Not cancelled, since the server gave no answer; it ends the flow in time")
  )
})

/** What was shown leads nowhere any more: how the flow ends is still told. */
const watchOn = Effect.fnUntraced(function*(deadline: number) {
  const output = yield* Output
  yield* output.status("")
  yield* output.say("Another command goes on with this flow in another way; what was shown here leads nowhere any more")
  yield* output.say("Waiting for how it ends; Ctrl+C ends the waiting alone")
  return yield* progress(deadline)
})

const waiting = <A, E, R>(meanwhile: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    Output,
    (output) => Effect.andThen(output.say("Waiting for consent; press Ctrl+C to cancel"), meanwhile)
  )

/** Shows a URL or opens it, and tells every way in which its answer can come. What to do meanwhile. */
const showUrl = Effect.fnUntraced(function*(
  remote: Remote,
  server: string,
  ready: Exclude<Ready, { readonly userCode: string }>,
  way: ShownWay,
  showing: Showing
) {
  const output = yield* Output
  const deadline = Date.parse(ready.expiresAt)
  if ("compareCode" in ready) yield* output.say(`The page must show this code: ${plain(ready.compareCode)}`)
  const url = "connectUrl" in ready ? ready.connectUrl : ready.authorizationUrl
  const listener = listenerOf(ready)
  const refused = yield* show(server, url, showing)
  if (listener !== undefined && showing.ssh !== undefined) {
    yield* output.say("The browser comes back to this machine. On yours, keep this running meanwhile:")
    yield* output.say(`  ${forwardLine(showing.ssh, listener)}`)
  }
  const elsewhere = `valetkey connect ${server} --transport device`
  const byHand = listener === undefined ? Effect.never : carry(remote, way, elsewhere)
  if (refused === undefined) return waiting(Effect.raceFirst(progress(deadline), byHand))
  const hint = listener === undefined ? undefined : `No answer yet? This goes on on another device: ${elsewhere}`
  return waiting(Effect.raceFirst(
    progress(deadline, hint),
    refused.pipe(Effect.andThen(output.say(`${Browser.notOpened}: ${plain(url)}`)), Effect.andThen(byHand))
  ))
})

/** Where the answer arrives, when that is a listener of the server's machine. */
const listenerOf = (ready: Ready): URL | undefined => {
  if (!("authorizationUrl" in ready)) return undefined
  const redirect = URL.parse(URL.parse(ready.authorizationUrl)?.searchParams.get("redirect_uri") ?? "")
  return redirect !== null && isLoopback(redirect) ? redirect : undefined
}

/** Tells where to enter which code. The code is for the person who reads this: who else enters it connects an account of theirs. */
const showCode = Effect.fnUntraced(function*(ready: Extract<Ready, { readonly userCode: string }>) {
  const output = yield* Output
  const { userCode, verificationUri, verificationUriComplete } = ready
  const page = plain(verificationUriComplete ?? verificationUri)
  yield* output.say(`Open this page of ${plain(new URL(verificationUri).host)} on any device:`)
  yield* output.json ? output.say(page) : output.data(page)
  if (verificationUriComplete !== undefined) yield* output.say(`or ${plain(verificationUri)}`)
  yield* output.say(`The code is ${plain(userCode)}. Enter it, or compare it, and keep it to yourself`)
})

/** Says how a browser that reaches no listener is helped, and takes what a person pastes or types. */
const carry = Effect.fnUntraced(function*(remote: Remote, way: ShownWay, elsewhere: string) {
  const output = yield* Output
  const { flowId } = way.first
  if (!output.json && PastedUrl.isOffered()) {
    return yield* PastedUrl.each(
      Effect.andThen(
        output.say(
          "Where the browser ends at a page that it cannot reach, paste the address of that page here and press Enter"
        ),
        output.say("To go on on another device, type device and press Enter")
      ),
      (line) => take(remote, way, line)
    )
  }
  yield* output.say(
    `Where the browser ends at a page that it cannot reach, pass its address on: valetkey callback ${flowId} < FILE`
  )
  yield* output.say(`To go on on another device: ${elsewhere}`)
  return yield* Effect.never
})

/** Opens the URL, or shows it where no browser is wanted or found: then there is nothing that could be refused. */
const show = Effect.fnUntraced(function*(server: string, url: string, { noBrowser, ssh }: Showing) {
  const output = yield* Output
  if (!opensBrowser({ noBrowser, ssh })) {
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

/** Takes a line from the terminal: the address where the browser ended, or the wish to go on elsewhere. */
const take = Effect.fnUntraced(function*(remote: Remote, way: ShownWay, line: Redacted.Redacted) {
  const output = yield* Output
  const { flowId } = way.first
  const taken = Redacted.value(line).toLowerCase() === "device"
    ? Effect.sync(() => way.changing()).pipe(
      Effect.andThen(remote.call(operations.handOff, { flowId, transport: "device" })),
      Effect.tapError(() => Effect.sync(() => way.kept())),
      Effect.tap((ready) => Effect.sync(() => way.changed(ready))),
      Effect.flatMap((ready) => "userCode" in ready ? showCode(ready) : Effect.void)
    )
    // What becomes of the flow is for whoever asks for it.
    : remote.call(operations.paste, { flowId, address: line })
  yield* taken.pipe(Effect.catch((error) => output.say(textOf(error))))
})

/** Whether a browser is to be opened here. Over SSH only a chosen one is. */
export const opensBrowser = ({ noBrowser, ssh }: Showing): boolean =>
  !noBrowser && (ssh === undefined || (process.env["BROWSER"] ?? "") !== "")

/**
 * Asks until the flow is settled, and shows what it is till then. A broken way is asked again, a definite answer ends it at
 * once. Whether time is up is for the server to say, whose clock this one need not agree with; how long it is asked follows from
 * what the flow's life lasts.
 */
export const poll = Effect.fnUntraced(function*(
  remote: Remote,
  flowId: string,
  look: (flow: Flow) => Effect.Effect<void> = () => Effect.void
) {
  const began = yield* monotonic
  let life = longestLife
  let brokenSince: number | undefined
  let pause = 100
  while (true) {
    const now = yield* monotonic
    if (now - began > life + slack) return yield* failure("flow_expired", "Nobody gave consent in time; start again")
    const answer = yield* Effect.result(remote.call(operations.flow, { flowId, wait: 25 }))
    if (answer._tag === "Success") {
      brokenSince = undefined
      pause = 100
      if (isSettled(answer.success)) return answer.success
      life = lifeOf(answer.success)
      yield* look(answer.success)
      continue
    }
    if (answer.failure.transient !== true) return yield* answer.failure
    brokenSince ??= now
    if (now - brokenSince > brokenFor) return yield* answer.failure
    yield* Effect.sleep(Duration.millis(pause))
    pause = Math.min(pause * 2, 2000)
  }
}) as (
  remote: Remote,
  flowId: string,
  look?: (flow: Flow) => Effect.Effect<void>
) => Effect.Effect<Flow, CliFailure>

/** Milliseconds that no change of the clock moves. */
const monotonic = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos / 1_000_000n))

/** How long a flow lives, between two times of one clock. */
const lifeOf = ({ createdAt, expiresAt }: Flow): number => {
  const life = Date.parse(expiresAt) - Date.parse(createdAt)
  return life >= 0 ? life : longestLife
}

/** What the life of a flow is taken for where the server has not told it. */
const longestLife = 3_600_000

/** The server settles an overdue flow; an exchange that began in time has this long to end. */
const slack = 60_000

const isSettled = ({ status }: Flow): boolean =>
  status !== "pending" && status !== "exchanging" && status !== "awaiting_finalize"

/** How long the way to the server may stay broken, such as while it restarts. */
const brokenFor = 20_000

/** Tells how long it took and how long is left. */
const progress = Effect.fnUntraced(function*(deadline: number, hint?: string) {
  const output = yield* Output
  const began = yield* Clock.currentTimeMillis
  let untold = hint
  for (let frame = 0;; frame++) {
    yield* Effect.sleep(output.watched ? "120 millis" : "30 seconds")
    const now = yield* Clock.currentTimeMillis
    const elapsed = formatDuration(now - began)
    // A clock that is ahead of the server's says nothing of what is left.
    const left = now < deadline ? `, ${formatDuration(deadline - now)} left` : ""
    if (untold !== undefined && now - began > patience) {
      yield* output.say(untold)
      untold = undefined
    }
    yield* output.watched
      ? output.status(`${spinner[frame % spinner.length] ?? ""} ${elapsed} elapsed${left}`)
      : output.say(`Still waiting: ${elapsed} elapsed${left}`)
  }
}) as (deadline: number, hint?: string) => Effect.Effect<never, never, Output>

/** How long a person at a browser usually needs. */
const patience = 25_000

const spinner = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"]
