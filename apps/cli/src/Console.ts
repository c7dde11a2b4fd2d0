import { locate } from "@valetkey/client/Home"
import { Effect } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Browser from "./Browser.ts"
import { failure, reworded } from "./CliFailure.ts"
import { opensBrowser } from "./Consent.ts"
import { Output, plain } from "./Output.ts"
import * as Ssh from "./Ssh.ts"
import { reach, resolve } from "./Target.ts"
import { operations } from "./Wire.ts"

/** `valetkey console`: the person's own connections in a browser. */
export const Console = Command.make("console", {
  noBrowser: Flag.Boolean("no-browser").pipe(
    Flag.withDescription("Print the link in place of opening it"),
    Flag.withDefault(false),
    Flag.withoutNegation
  )
}, ({ noBrowser }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const { _tag: place } = yield* resolve
    const ssh = place === "local" ? Ssh.sessionOf(process.env) : undefined
    const remote = yield* reach({ start: true })
    const link = yield* remote.call(operations.openConsole, undefined).pipe(
      Effect.mapError((told) => told.code === "public_url_missing" ? reworded(told, withoutPages) : told)
    )
    yield* output.say(`The page must show this code: ${plain(link.compareCode)}`)
    yield* output.say("The link lets one browser in, within ten minutes; it is a secret until then")
    const url = URL.parse(link.consoleUrl)
    if (ssh !== undefined && url !== null && Ssh.isLoopback(url)) {
      yield* output.say("The link leads to this machine. On yours, keep this running for as long as the page is open:")
      yield* output.say(`  ${Ssh.forwardLine(ssh, url)}`)
    }
    if (process.platform === "darwin" && url?.protocol === "http:") {
      yield* output.say(
        "Safari keeps no cookie of a page over http and is not let in: open the link in another browser"
      )
    }
    if (output.json || !opensBrowser({ noBrowser, ssh })) {
      return yield* output.result({ ok: true, ...link }, plain(link.consoleUrl))
    }
    yield* output.say("Opening the browser; if no page comes, valetkey console --no-browser prints the link")
    yield* Effect.scoped(Effect.gen(function*() {
      const refused = yield* Browser.openUnseen(link.consoleUrl, locate(process.env).run)
      yield* Effect.timeoutOrElse(Effect.andThen(refused, failure("browser_unavailable", Browser.notOpened)), {
        duration: loading,
        orElse: () => Effect.void
      })
    })).pipe(
      Effect.catch((error) =>
        Effect.andThen(output.say(error.message), output.result({ ok: true, ...link }, plain(link.consoleUrl)))
      )
    )
  })).pipe(
    Command.withDescription("See your connections in a browser: their health, their history, connect, disconnect"),
    Command.withExamples([{
      command: "valetkey console",
      description: "Opens a page that lets this browser in, for an hour"
    }, { command: "valetkey console --no-browser", description: "Prints the link, for a browser elsewhere" }])
  )

/** For how long the page that leads to the link is there: a browser that is not running yet has to start first. */
const loading = "10 seconds"

const withoutPages = "This server has no public pages, and so no console: its operator sets VALETKEY_PUBLIC_URL; " +
  "valetkey list, history, connect and disconnect do the same without"
