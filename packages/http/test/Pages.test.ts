import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { caller } from "./Caller.ts"
import { answerPath, leave } from "./Consent.ts"
import { fromHere, link, submit } from "./Console.ts"
import { layer } from "./Harness.ts"
import { type Answer, Http, send } from "./Http.ts"
import { Script } from "./Script.ts"

/** Every page that a browser is shown by this server, by what leads to it. */
const pages = Effect.gen(function*() {
  const shown = new Map<string, Answer>()
  const ada = yield* caller()
  const { cookies } = yield* Http
  const script = yield* Script
  shown.set("docs", yield* send("GET", "/docs"))
  shown.set("gone", yield* send("GET", `/connect/${"A".repeat(43)}`))
  yield* ada.post("/v1/flows", { server: "notes" })
  const { connectPath } = script
  const offer = yield* send("GET", connectPath)
  shown.set("offer", offer)
  shown.set(
    "refused",
    yield* send("POST", connectPath, { body: "token=x", headers: { origin: "https://evil.example" } })
  )
  shown.set("departure", yield* leave(offer, connectPath))
  const mine = [...cookies]
  cookies.clear()
  shown.set("taken", yield* send("GET", connectPath))
  shown.set("another browser", yield* send("GET", yield* answerPath))
  for (const [name, value] of mine) cookies.set(name, value)
  const landed = yield* send("GET", yield* answerPath)
  shown.set("done", yield* send("GET", landed.headers.get("location")!))
  shown.set("outcome", yield* send("GET", connectPath))
  shown.set("unknown", yield* send("GET", `/done/${"A".repeat(43)}`))
  const { path } = yield* link(ada)
  const invitation = yield* send("GET", path)
  shown.set("invitation", invitation)
  shown.set("signed out", yield* send("GET", "/connections"))
  shown.set("no link", yield* send("GET", `/console/${"A".repeat(43)}`))
  shown.set("refused sign-in", yield* send("POST", path, { body: "token=x", headers: fromHere }))
  yield* submit(invitation, path)
  shown.set("used link", yield* send("GET", path))
  shown.set("connections", yield* send("GET", "/connections"))
  shown.set("connection", yield* send("GET", "/connections/notes"))
  shown.set("no connection", yield* send("GET", "/connections/none"))
  shown.set("disconnect", yield* send("GET", "/connections/notes/disconnect"))
  const ask = yield* send("GET", "/connections/notes/connect")
  shown.set("connect", ask)
  shown.set("started", yield* submit(ask, "/connections/notes/connect"))
  shown.set("sign-out", yield* submit(yield* send("GET", "/connections"), "/connections"))
  shown.set("not an answer", yield* send("GET", `/callback/${"A".repeat(43)}`))
  return shown
})

describe("the pages", () => {
  it.effect("LOOP-16 fetch nothing from anywhere: no script, no resource, and a policy that allows neither", () =>
    Effect.gen(function*() {
      const shown = yield* pages
      for (const [name, { headers, text }] of shown) {
        assert.match(headers.get("content-type") ?? "", /^text\/html/, name)
        const directives = new Map(
          (headers.get("content-security-policy") ?? "").split(";").map((part) => {
            const [directive = "", ...values] = part.trim().split(/\s+/)
            return [directive, values.join(" ")]
          })
        )
        assert.strictEqual(directives.get("default-src"), "'none'", name)
        // What is not named falls back to 'none': requests by scripts, frames, images, workers.
        assert.deepStrictEqual(
          [...directives.keys()].filter((directive) => directive.endsWith("-src")).toSorted(),
          ["default-src", "object-src", "style-src"],
          name
        )
        assert.match(directives.get("style-src") ?? "", /^'sha256-[\w+/=]+'$/, name)
        assert.notMatch(text, /<(script|iframe|frame|img|link|object|embed|video|audio|source|track|base)\b/i, name)
        assert.notMatch(text, /\s(on\w+|src|srcset|style|ping|formaction|action)\s*=/i, name)
        assert.notMatch(text, /javascript:|data:|fetch\(|import\(|url\(/i, name)
        assert.isFalse([...headers.keys()].some((header) => header.startsWith("access-control-")), name)
      }
    }).pipe(Effect.provide(layer())))

  it.effect("LOOP-16 lead on by top-level navigation alone, and only the way to the provider leads to another origin", () =>
    Effect.gen(function*() {
      const shown = yield* pages
      for (const [name, { headers, text }] of shown) {
        const links = [...text.matchAll(/href="([^"]*)"/g)].map(([, href]) => href ?? "")
        const refresh = /url=(.*)$/i.exec(headers.get("refresh") ?? "")?.[1]
        const away = [...links, ...refresh === undefined ? [] : [refresh]].filter((href) => !href.startsWith("/"))
        if (name === "departure") {
          assert.strictEqual(away.length, 2)
          for (const href of away) assert.isTrue(href.startsWith("https://as.example/authorize?"))
        } else assert.deepStrictEqual(away, [], name)
      }
    }).pipe(Effect.provide(layer())))
})
