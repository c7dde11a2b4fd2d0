import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as ConsentingFetch from "../src/ConsentingFetch.ts"
import { endpoint } from "./support/Relaying.ts"

/** A `fetch` that has no token before somebody consented, for the reason that a code gives. */
const unconnected = (code: string) => {
  let consents = 0
  const asked: Array<ConsentingFetch.Missing> = []
  const request = ConsentingFetch.make({
    authorized: (input, init) =>
      consents === 0 ? Promise.reject(Object.assign(new Error(code), { code })) : fetch(input, init),
    needsPerson: (error) => ConsentingFetch.isUnconnected(String((error as { readonly code?: unknown }).code)),
    obtain: async (missing) => {
      consents++
      asked.push(missing)
    },
    maxConsents: 1
  })
  return { asked, request }
}

const message = { method: "POST", headers: { "mcp-session-id": "s" }, body: "{\"method\":\"tools/call\"}" }

describe("ConsentingFetch", () => {
  it.live("asks before a request whose connection ended is made", () =>
    Effect.scoped(Effect.gen(function*() {
      const { methods, url } = yield* endpoint((_, response) => void response.end("done"))
      const { asked, request } = unconnected("reauthorization_required")
      const answer = yield* Effect.promise(() => request(url, message).then((response) => response.text()))
      assert.deepStrictEqual([answer, asked, methods()], ["done", [{ scopes: undefined }], ["tools/call"]])
    })))

  it.live("carries a request without a token to no other origin", () =>
    Effect.scoped(Effect.gen(function*() {
      const other = yield* endpoint((_, response) => void response.end("taken"))
      const { methods, url } = yield* endpoint(({ path }, response) => {
        const location = path === "/mcp" ? "/moved" : path === "/moved" ? other.url.href : undefined
        return void (location === undefined ? response.end() : response.writeHead(307, { location }).end())
      })
      const { request } = unconnected("connection_not_found")
      const answer = yield* Effect.promise(() => request(url, message))
      assert.deepStrictEqual([answer.status, methods(), other.methods()], [307, ["tools/call", "tools/call"], []])
      yield* Effect.promise(() => answer.text())
      const asked = yield* Effect.promise(() => request(new Request(url, message)))
      assert.deepStrictEqual([asked.status, methods().length, other.methods()], [307, 4, []])
    })))

  it.live("sends a stream once, and reports the redirect that would need it again", () =>
    Effect.scoped(Effect.gen(function*() {
      const { methods, url } = yield* endpoint((_, response) =>
        void response.writeHead(307, { location: "/moved" }).end()
      )
      const { request } = unconnected("connection_not_found")
      const body = new Blob([message.body]).stream()
      const answer = yield* Effect.promise(() =>
        request(url, { ...message, body, duplex: "half" } as unknown as RequestInit)
      )
      assert.deepStrictEqual([answer.status, methods()], [307, ["tools/call"]])
    })))

  it.live("follows no redirects for ever", () =>
    Effect.scoped(Effect.gen(function*() {
      const { methods, url } = yield* endpoint((_, response) =>
        void response.writeHead(308, { location: "/mcp" }).end()
      )
      const { request } = unconnected("connection_not_found")
      const answer = yield* Effect.promise(() => request(url, message))
      assert.deepStrictEqual([answer.status, methods().length], [308, 6])
    })))
})
