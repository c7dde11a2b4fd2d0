import { Effect, type Option } from "effect"
import * as Flag from "effect/cli/Flag"
import { failure } from "./CliFailure.ts"
import { Output } from "./Output.ts"
import { reach } from "./Target.ts"
import { fetchToken, MinValidity } from "./Token.ts"
import { operations } from "./Wire.ts"
import { Name } from "./Words.ts"

// Other programs start these commands, read one credential from stdout and show stderr at best.

/** What every helper takes. */
export const helperParameters = { name: Name, minValidity: MinValidity } as const

/** Flag of the hosts that a token may be handed out for. */
export const Hosts = Flag.String("host").pipe(
  Flag.withMetavar("HOST"),
  Flag.withDescription(
    "Host, with its port if unusual, that the token may go to; may be repeated. Default: that of the server"
  ),
  Flag.atLeast(0)
)

/** Flag of the user name that goes with a token where there must be one. */
export const Username = (byDefault: string) =>
  Flag.String("username").pipe(
    Flag.withDescription(`User name that goes with the token; default ${byDefault}`),
    Flag.withDefault(byDefault)
  )

/** Refuses `--json`: what a helper prints is in the form of its caller. */
export const ownForm = Effect.gen(function*() {
  if ((yield* Output).json) {
    return yield* failure("usage", "This command takes no --json: stdout has the form that its caller reads")
  }
})

/** A token that is safe to put into a line: no caller is made to read more than one value out of it. */
export const tokenOf = Effect.fnUntraced(function*(name: string, minValidity: Option.Option<string>) {
  const token = yield* fetchToken(name, minValidity)
  if (!/^[\x21-\x7e]+$/.test(token.accessToken) || !/^[\w-]+$/.test(token.tokenType)) {
    return yield* failure("token_unprintable", "The token has characters that no header carries; its provider is wrong")
  }
  return token
})

/** The hosts that the token of a server may be handed out for: the chosen ones, else that of its resource. */
export const hostsOf = Effect.fnUntraced(function*(name: string, chosen: ReadonlyArray<string>) {
  if (chosen.length > 0) return chosen.map((host) => host.toLowerCase())
  const remote = yield* reach({ start: true })
  const { resource } = yield* remote.call(operations.server, name)
  return [new URL(resource).host]
})

/** The host of what a caller asks about, a URL or a host alone; undefined where a token would go in the open. */
export const hostIn = (asked: string): string | undefined => {
  const url = URL.parse(asked.includes("://") ? asked : `https://${asked}`)
  if (url === null) return undefined
  const isHere = url.hostname === "localhost" || url.hostname === "[::1]" || /^127\.[\d.]+$/.test(url.hostname)
  return url.protocol === "https:" || url.protocol === "http:" && isHere ? url.host.toLowerCase() : undefined
}

/** Everything on stdin; what is longer than any caller writes is cut. */
export const readInput = Effect.promise(async () => {
  let text = ""
  process.stdin.setEncoding("utf8")
  for await (const chunk of process.stdin) {
    text += String(chunk)
    if (text.length > 64 * 1024) break
  }
  return text
})
