import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import type { RequestListener } from "node:http"
import { createServer } from "node:https"
import type { AddressInfo } from "node:net"
import * as AddressPolicy from "../src/AddressPolicy.ts"
import { Egress } from "../src/Egress.ts"

const fixture = (name: string) => readFileSync(new URL(`./fixtures/${name}`, import.meta.url), "utf8")
const cert = fixture("localhost-cert.pem")

const serve = (listener: RequestListener) =>
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>>((resume) => {
      const server = createServer({ cert, key: fixture("localhost-key.pem") }, listener)
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  ).pipe(Effect.map((server) => (server.address() as AddressInfo).port))

const resolve = (hostname: string) => Promise.resolve(hostname === "localhost" ? ["127.0.0.1"] : [])

const get = (url: string, options: { readonly ca: string | undefined; readonly allow?: ReadonlyArray<string> }) =>
  Effect.flatMap(Egress, (egress) => egress.execute({ method: "GET", url }, { trust: "loopback" })).pipe(
    Effect.provide(Egress.layer({
      policy: AddressPolicy.local({ allow: options.allow }),
      certificateAuthorities: options.ca,
      resolve: options.allow === undefined ? resolve : () => Promise.resolve(["127.0.0.1"])
    }))
  )

describe("TLS", () => {
  it.effect("SSRF-15 verifies the chain even if NODE_TLS_REJECT_UNAUTHORIZED is 0", () =>
    Effect.gen(function*() {
      let requests = 0
      const port = yield* serve((_, response) => {
        requests++
        response.end("ok")
      })
      yield* Effect.acquireRelease(
        Effect.sync(() => process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0"),
        () => Effect.sync(() => delete process.env.NODE_TLS_REJECT_UNAUTHORIZED)
      )
      const error = yield* Effect.flip(get(`https://localhost:${port}/`, { ca: undefined }))
      assert.strictEqual(error.reason._tag, "Unreachable")
      assert.isFalse(error.sent)
      assert.strictEqual(requests, 0)
    }))

  it.effect("SSRF-15 verifies the name", () =>
    Effect.gen(function*() {
      const port = yield* serve((_, response) => response.end("ok"))
      const endpoint = `other.example:${port}`
      const error = yield* Effect.flip(get(`https://${endpoint}/`, { ca: cert, allow: [endpoint] }))
      assert.deepInclude(error.reason, { _tag: "Unreachable", detail: "ERR_TLS_CERT_ALTNAME_INVALID" })
    }))

  it.effect("talks to an endpoint that a configured authority vouches for", () =>
    Effect.gen(function*() {
      const port = yield* serve((_, response) => response.end("ok"))
      const response = yield* get(`https://localhost:${port}/`, { ca: cert })
      assert.strictEqual(Buffer.from(response.body).toString(), "ok")
    }))
})
