import * as Canary from "@valetkey/testing/Canary"
import { Effect } from "effect"
import type { Caller } from "./Caller.ts"
import { type Answer, send } from "./Http.ts"
import { publicOrigin, Script } from "./Script.ts"

/** Sends the form of a connect page as the browser does that was shown it. */
export const leave = Effect.fnUntraced(function*(page: Answer, path: string) {
  const token = /name="token" value="([\w-]+)"/.exec(page.text)?.[1] ?? ""
  return yield* send("POST", path, {
    body: `token=${token}`,
    headers: {
      "content-type": "application/x-www-form-urlencoded",
      origin: publicOrigin,
      "sec-fetch-site": "same-origin"
    }
  })
})

/** The address that the provider sends a browser to for the flow that was started last, whichever browser that is. */
export const answerPath = Effect.map(
  Script,
  ({ contextOf, stateOf }) => `/callback/${contextOf}?state=${stateOf}&code=${Canary.makeText("code")}`
)

/** The same, after the person's browser was bound on the connect page. */
export const callbackPath = Effect.gen(function*() {
  const { connectPath } = yield* Script
  if (connectPath !== "") yield* leave(yield* send("GET", connectPath), connectPath)
  return yield* answerPath
})

/** Starts a flow, lets the person consent, and waits until it is settled. */
export const connect = Effect.fnUntraced(function*(ada: Caller, choice: Readonly<Record<string, unknown>> = {}) {
  const started = yield* ada.post("/v1/flows", { server: "notes", ...choice })
  const answered = yield* send("GET", yield* callbackPath)
  const flowId = String(started.json["flowId"])
  return {
    flowId,
    done: answered.headers.get("location")!,
    settled: yield* ada.get(`/v1/flows/${flowId}?wait=30`)
  }
})
