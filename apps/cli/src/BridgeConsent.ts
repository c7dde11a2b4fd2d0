import type { Missing } from "@valetkey/mcp/ConsentingFetch"
import { Effect } from "effect"
import * as Browser from "./Browser.ts"
import { CliFailure } from "./CliFailure.ts"
import { opensBrowser, poll, type Showing } from "./Consent.ts"
import { completed, linksOf } from "./FlowReport.ts"
import { Output, plain } from "./Output.ts"
import type { Remote } from "./Remote.ts"
import { operations, type Ready } from "./Wire.ts"

/**
 * Has a person give consent in the browser, and returns when the connection is there. Where no browser can be opened it
 * fails with the URL, for a client that shows what it is answered, and the flow stays open for who opens it. Going away
 * leaves the flow to its own end too: other programs may wait for it.
 */
export const askPerson = (server: string, showing: Showing) => {
  // The same URL as long as it leads somewhere: whoever reads the second answer may have the first one open.
  let shown: Ready | undefined
  return Effect.fnUntraced(function*(remote: Remote, { scopes }: Missing) {
    const output = yield* Output
    const started = yield* remote.call(operations.start, {
      server,
      reauthorize: true,
      onConflict: "join",
      ...(scopes === undefined ? {} : { scopes })
    })
    if ("alreadyConnected" in started) return
    if ("joined" in started) {
      if (shown?.flowId === started.flowId) return yield* missing(server, shown)
      if (!opensBrowser(showing)) return yield* waiting(server, started.flowId)
      yield* output.say(`valetkey: Waiting for the consent that another program asked for`)
      return yield* completed(yield* poll(remote, started.flowId))
    }
    const url = "connectUrl" in started
      ? started.connectUrl
      : "authorizationUrl" in started
      ? started.authorizationUrl
      : undefined
    const refused = url === undefined || !opensBrowser(showing)
      ? undefined
      : yield* Effect.orElseSucceed(Browser.open(url), () => undefined)
    if (refused === undefined) {
      shown = started
      return yield* missing(server, started)
    }
    if ("compareCode" in started) {
      yield* output.say(`valetkey: The page must show this code: ${plain(started.compareCode)}`)
    }
    yield* output.say(`valetkey: Opened the browser to connect ${server}; waiting for the consent`)
    const flow = yield* Effect.raceFirst(
      poll(remote, started.flowId),
      Effect.andThen(refused, () => {
        shown = started
        return missing(server, started)
      })
    )
    yield* completed(flow)
  })
}

/** Another URL would take away the one that somebody may have open. */
const waiting = (server: string, flowId: string) =>
  new CliFailure({
    code: "reauthorization_required",
    sentence:
      `Nobody is connected to ${server}, and a consent is waited for already. Open the URL that was shown for it, or begin anew: valetkey connect ${server} --replace`,
    details: { flowId }
  })

const missing = (server: string, ready: Ready) => {
  const links = linksOf(ready)
  const what = "userCode" in links
    ? `open ${links.verificationUriComplete ?? links.verificationUri}, enter ${links.userCode}`
    : `open ${"connectUrl" in links ? links.connectUrl : links.authorizationUrl}`
  return new CliFailure({
    code: "reauthorization_required",
    sentence: `Nobody is connected to ${server} and no browser could be opened here. To connect, ${what} and try again`,
    details: { flowId: ready.flowId, ...links, expiresAt: ready.expiresAt }
  })
}
