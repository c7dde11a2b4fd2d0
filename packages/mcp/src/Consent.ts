import { ApiProblem } from "@valetkey/client/ClientError"
import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import { Effect, Redacted, Schema } from "effect"
import { isUnconnected, type Missing } from "./ConsentingFetch.ts"

/** Where a person has to go. The URL is for that person alone: whoever opens it connects their own account. */
export interface ConsentRequest {
  readonly url: string
  /** What the page behind the URL shows too, where any browser may come; show both in one place. */
  readonly compareCode: string | undefined
  /** The scopes that are asked for; undefined when the server's usual ones are. */
  readonly scopes: ReadonlyArray<string> | undefined
  readonly expiresAt: Date
}

/** Leads the person to a URL: opens a browser, prints it, sends a message. What it throws ends the request that needed it. */
export type AskPerson = (request: ConsentRequest) => void | Promise<void>

/** Error of a flow that ended without a connection; `reason` is the failure or the state that it ended in. */
export class ConsentFailed extends Schema.TaggedError<ConsentFailed>("valetkey/mcp/ConsentFailed")("ConsentFailed", {
  server: Schema.String,
  reason: Schema.String
}) {
  readonly code = "consent_failed"
  override get message() {
    return `The person did not connect ${this.server}: ${this.reason}. Try again.`
  }
}

/** Whether there is no token without a person's consent. */
export const needsPerson = (error: unknown): boolean => error instanceof ApiProblem && isUnconnected(error.code)

const ended: ReadonlyArray<string> = ["completed", "failed", "outcome_unknown", "cancelled", "expired", "superseded"]

/**
 * Starts a flow, or joins the one that runs, has the person asked, and returns when the connection is there. Interrupting it
 * leaves the flow to its own end, because others may wait for it.
 */
export const obtain = Effect.fnUntraced(function*(server: string, { scopes }: Missing, ask: AskPerson) {
  const valetkey = yield* ValetkeyClient
  const started = yield* valetkey.start({
    server,
    reauthorize: true,
    onConflict: "join",
    ...(scopes === undefined ? {} : { scopes })
  })
  if (!("flowId" in started)) return
  const url = "authorizationUrl" in started
    ? started.authorizationUrl
    : "connectUrl" in started
    ? started.connectUrl
    : undefined
  // Whoever joins waits for the person that another caller asked.
  if (url !== undefined && "expiresAt" in started) {
    yield* Effect.tryPromise({
      try: async () =>
        await ask({
          url: Redacted.value(url),
          compareCode: "compareCode" in started ? started.compareCode : undefined,
          scopes,
          expiresAt: new Date(String(started.expiresAt))
        }),
      catch: (error) => error
    }).pipe(Effect.tapError(() => Effect.ignore(valetkey.cancel(started.flowId))))
  }
  let flow = yield* valetkey.flow(started.flowId, { wait: "30 seconds" })
  while (!ended.includes(flow.status)) flow = yield* valetkey.flow(started.flowId, { wait: "30 seconds" })
  if (flow.status !== "completed") {
    return yield* new ConsentFailed({ server, reason: flow.failure?.code ?? flow.status })
  }
})
