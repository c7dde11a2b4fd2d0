import { Effect } from "effect"
import { CliFailure, failure } from "./CliFailure.ts"
import { Output } from "./Output.ts"
import type { Flow, Ready } from "./Wire.ts"
import { formatAccount, formatScopes } from "./Words.ts"

/** The end of the story: the connection, or why there is none. */
export const report = Effect.fnUntraced(function*(server: string, flow: Flow) {
  const output = yield* Output
  const { connection, flowId, status } = flow
  yield* output.status("")
  yield* completed(flow)
  yield* output.result(
    {
      ok: true,
      server,
      flowId,
      status,
      grantedScopes: connection?.scopes ?? [],
      ...(connection === undefined ? {} : { connection })
    },
    `Connected to ${server}${connection?.account === undefined ? "" : ` as ${formatAccount(connection.account)}`}${
      connection?.scopes === undefined ? "" : ` (scopes: ${formatScopes(connection.scopes)})`
    }`
  )
})

/** Fails with the reason when a settled flow brought no connection. */
export const completed = Effect.fnUntraced(function*(flow: Flow) {
  const { flowId, status } = flow
  switch (status) {
    case "completed":
      return
    case "failed":
      return yield* new CliFailure({
        code: flow.failure?.code ?? "internal",
        sentence: flow.failure?.message ?? "The flow failed; the server's log has the cause",
        details: { flowId, status }
      })
    case "expired":
      return yield* failure("flow_expired", "Nobody gave consent in time; start again", { flowId })
    case "superseded":
      return yield* failure("flow_superseded", "Another command took over the connecting", { flowId })
    case "outcome_unknown":
      return yield* failure(
        "flow_outcome_unknown",
        "The provider was asked for the credentials and its answer is lost; start again",
        { flowId }
      )
    default:
      return yield* failure("flow_cancelled", "The flow was cancelled", { flowId })
  }
})

/** What a program shows to the person. */
export const linksOf = (ready: Ready) => {
  if ("connectUrl" in ready) return { connectUrl: ready.connectUrl, compareCode: ready.compareCode }
  if ("authorizationUrl" in ready) return { authorizationUrl: ready.authorizationUrl }
  const { userCode, verificationUri, verificationUriComplete } = ready
  return { userCode, verificationUri, ...(verificationUriComplete === undefined ? {} : { verificationUriComplete }) }
}
