import { Clock, Effect } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { failure } from "./CliFailure.ts"
import { Output, plain } from "./Output.ts"
import type { Remote } from "./Remote.ts"
import { reach } from "./Target.ts"
import { operations, type Revocation } from "./Wire.ts"
import { Name, parseSeconds } from "./Words.ts"

/** The longest that the command waits for the provider. */
const longestWait = 60

/** `valetkey disconnect`: refuse tokens at once, revoke, and say what the provider made of it. */
export const Disconnect = Command.make("disconnect", {
  name: Name,
  wait: Flag.String("wait").pipe(
    Flag.withMetavar("DURATION"),
    Flag.withDescription(
      "How long to wait for the provider to confirm, such as 5s or 1m; the tokens are refused at once"
    ),
    Flag.withDefault("10s")
  ),
  noWait: Flag.Boolean("no-wait").pipe(
    Flag.withDescription("Do not wait for the provider"),
    Flag.withDefault(false),
    Flag.withoutNegation
  )
}, ({ name, noWait, wait }) =>
  Effect.gen(function*() {
    const seconds = noWait ? 0 : parseSeconds(wait)
    if (seconds === undefined || seconds > longestWait) {
      return yield* failure("usage", `--wait must be a duration of at most ${longestWait}s, such as 10s`)
    }
    const output = yield* Output
    const remote = yield* reach({ start: true })
    yield* remote.call(operations.disconnect, name)
    // The connection is gone whatever the answer to this is, and a credential may lack the scope to see receipts.
    const revocation = yield* Effect.orElseSucceed(latest(remote, name, seconds), () => undefined)
    const outcome = revocation === undefined
      ? "unknown"
      : revocation === null
      ? "nothing_to_revoke"
      : revocation.outcome
    yield* output.result(
      { ok: true, server: name, disconnected: true, outcome, ...(revocation ? { revocation } : {}) },
      `${name} is disconnected: ${
        revocation ? sentenceOf(revocation, yield* Clock.currentTimeMillis) : plainly[outcome]
      }`
    )
    if (revocation?.outcome === "pending") {
      yield* output.say(`It is tried again by itself; valetkey disconnect ${name} tells how it stands`)
    }
  })).pipe(
    Command.withDescription("Forget a connection, revoke its tokens, and say what the provider made of it"),
    Command.withExamples([{
      command: "valetkey disconnect notes",
      description: "Waits a moment for the provider's word"
    }, { command: "valetkey disconnect notes --no-wait", description: "Leaves the revoking to the server" }])
  )

/** What became of the last connection of a name, once it is settled or the time is over; null when there was none. */
const latest = (remote: Remote, server: string, seconds: number) =>
  Effect.gen(function*() {
    const { revocations } = yield* remote.call(operations.revocations, { server })
    const found = revocations.find((one) => one.cause === "disconnect")
    if (found === undefined) return null
    if (found.outcome !== "pending" || seconds === 0) return found
    return yield* Effect.orElseSucceed(
      remote.call(operations.revocation, { id: found.id, wait: seconds }),
      () => found
    )
  })

const plainly: Readonly<Record<string, string>> = {
  unknown: "forgotten here; what the provider made of it could not be read",
  nothing_to_revoke: "there are no tokens of it here"
}

/** No more than the provider said. */
const sentenceOf = (revocation: Revocation, now: number): string => {
  const { accessToken, error, outcome, refreshToken } = revocation
  const code = error === undefined ? "" : ` (${plain(error)})`
  switch (outcome) {
    case "confirmed":
      return "revoked at the provider (confirmed)"
    case "pending":
      return `forgotten here; the provider has not confirmed yet${code}`
    case "given_up":
      return `forgotten here; the provider never confirmed${code}, end the grant there`
    case "partial":
    case "unsupported": {
      const left = [
        ...(accessToken?.outcome === "unsupported" ? [endOf(accessToken.expiresAt, now)] : []),
        ...(refreshToken?.outcome === "unsupported" ? ["its refresh token lasts until the provider ends it"] : [])
      ].join(", ")
      return outcome === "partial"
        ? `its ${refreshToken?.outcome === "confirmed" ? "refresh" : "access"} token is revoked at the provider ` +
          `(confirmed); the provider revokes no other, ${left}`
        : `forgotten here; this provider offers no revocation, ${left}`
    }
  }
}

const endOf = (expiresAt: string | undefined, now: number): string =>
  expiresAt === undefined
    ? "its access token has no known end"
    : Date.parse(expiresAt) <= now
    ? "its access token has ended"
    : `its access token ends at ${plain(expiresAt)}`
