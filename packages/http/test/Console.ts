import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { Caller } from "./Caller.ts"
import { type Answer, Http, send } from "./Http.ts"
import { publicOrigin } from "./Script.ts"

/** Headers of a form that a page of ours sends. */
export const fromHere = {
  "content-type": "application/x-www-form-urlencoded",
  origin: publicOrigin,
  "sec-fetch-site": "same-origin"
}

/** What the form of a page sends back. */
export const tokenOf = ({ text }: Answer): string => /name="token" value="([\w-]+)"/.exec(text)?.[1] ?? ""

/** Sends the form of a page to its own address. */
export const submit = (page: Answer, path: string) =>
  send("POST", path, { body: `token=${tokenOf(page)}`, headers: fromHere })

/** Path and code of a fresh link into the console. */
export const link = Effect.fnUntraced(function*(caller: Caller) {
  const { json, status } = yield* caller.post("/v1/console")
  assert.strictEqual(status, 201)
  const url = new URL(String(json["consoleUrl"]))
  assert.strictEqual(url.origin, publicOrigin)
  return { path: url.pathname, compareCode: String(json["compareCode"]), expiresAt: String(json["expiresAt"]) }
})

/** Lets the browser in as the caller, and returns the page that it is shown. */
export const signIn = Effect.fnUntraced(function*(caller: Caller) {
  const { path } = yield* link(caller)
  const entered = yield* submit(yield* send("GET", path), path)
  assert.strictEqual(entered.status, 303)
  return yield* send("GET", entered.headers.get("location")!)
})

/** Another browser in place of this one; returns what brings this one back. */
export const otherBrowser = Effect.map(Http, ({ cookies }) => {
  const held = [...cookies]
  cookies.clear()
  return Effect.sync(() => {
    cookies.clear()
    for (const [name, value] of held) cookies.set(name, value)
  })
})
