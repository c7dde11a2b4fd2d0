import { assert, describe, it } from "@effect/vitest"
import { type ResourceRequest, ResourceServer } from "@valetkey/domain/ResourceServer"
import * as AddressPolicy from "@valetkey/egress/AddressPolicy"
import { Egress } from "@valetkey/egress/Egress"
import * as Canary from "@valetkey/testing/Canary"
import { Deferred, Effect, Fiber, Layer, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { generateKeyPairSync } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { inspect } from "node:util"
import * as ResourceRequests from "../src/ResourceRequests.ts"

const layer = (policy = AddressPolicy.local()) =>
  Layer.provide(ResourceRequests.layer(), Egress.layer({ policy, resolve: async () => ["10.0.0.1", "93.184.215.14"] }))

const serve = (handler: (request: IncomingMessage, response: ServerResponse) => void) =>
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>>((resume) => {
      const server = createServer({ maxHeaderSize: 32 * 1024 }, handler)
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ).pipe(Effect.map((server) => new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/x`)))

const send = (url: URL, over: Partial<ResourceRequest> = {}) =>
  ResourceServer.use((resources) =>
    resources.send({ method: "GET", url, headers: {}, body: undefined, accessToken: Canary.make("access"), ...over })
  )

const nonceOf = (proof: string) =>
  (JSON.parse(Buffer.from(proof.split(".")[1] ?? "", "base64url").toString()) as Record<string, unknown>)["nonce"]

describe("a request to a resource", () => {
  it.effect("TOK-16 carries the token in its header alone, however long it is, and brings back the challenge", () =>
    Effect.gen(function*() {
      let seen: IncomingMessage | undefined
      const url = yield* serve((request, response) => {
        seen = request
        response.writeHead(403, {
          "www-authenticate": "Basic realm=\"a, b\", Bearer error=\"insufficient_scope\", scope=\"a  b\"",
          "set-cookie": "a=b"
        }).end("no")
      })
      const accessToken = Redacted.make("t".repeat(16 * 1024))
      const answer = yield* send(url, { accessToken, headers: { authorization: "Basic mine", "x-a": "1" } })
      assert.strictEqual(seen?.headers.authorization, `Bearer ${Redacted.value(accessToken)}`)
      assert.deepStrictEqual([answer.status, answer.challenge], [403, {
        error: "insufficient_scope",
        scopes: ["a", "b"]
      }])
      assert.notProperty(answer.headers, "set-cookie")
    }).pipe(Effect.provide(layer())))

  it.live("EXT-03 learns a nonce from the DPoP challenge beside a Bearer one, and reads the refusal of the scheme it used", () =>
    Effect.gen(function*() {
      const answers: Array<readonly [number, string]> = [
        [401, "Bearer resource_metadata=\"https://a.example/m\", DPoP algs=\"ES256\", error=\"use_dpop_nonce\""],
        [200, ""],
        [403, "Bearer error=\"invalid_token\", DPoP error=\"insufficient_scope\", scope=\"a b\""],
        [403, "Bearer error=\"insufficient_scope\", scope=\"c\", DPoP algs=\"ES256\""],
        [403, "Bearer, DPoP error=\"insufficient_scope\", scope=\"d\""],
        [401, "Bearer, DPoP algs=\"ES256\", error=\"use_dpop_nonce\""]
      ]
      const proofs: Array<string | string[] | undefined> = []
      const url = yield* serve((request, response) => {
        const [status, challenge] = answers.shift()!
        proofs.push(request.headers["dpop"])
        response.writeHead(status, { "www-authenticate": challenge, "dpop-nonce": "n-1" }).end()
      })
      const proofKey = Redacted.make(
        JSON.stringify(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" }))
      )
      assert.strictEqual((yield* send(url, { proofKey })).status, 200)
      assert.deepStrictEqual(proofs.map((proof) => nonceOf(String(proof))), [undefined, "n-1"])
      assert.deepStrictEqual((yield* send(url, { proofKey })).challenge, {
        error: "insufficient_scope",
        scopes: ["a", "b"]
      })
      assert.deepStrictEqual((yield* send(url, { proofKey })).challenge, { error: "insufficient_scope", scopes: ["c"] })
      assert.deepStrictEqual((yield* send(url)).challenge, { error: "insufficient_scope", scopes: ["d"] })
      // What is asked of proofs says nothing of a token that goes without.
      assert.deepStrictEqual((yield* send(url)).challenge, { error: undefined, scopes: [] })
      assert.deepStrictEqual(proofs.slice(4), [undefined, undefined])
    }).pipe(Effect.provide(layer())))

  it.effect("PROX-16 leaves for no address that the policy does not let it reach", () =>
    Effect.gen(function*() {
      for (
        const resource of [
          "http://169.254.169.254/latest",
          "https://10.0.0.1/",
          "https://[::1]/",
          "http://127.0.0.1:1/",
          "https://localhost/",
          "https://[64:ff9b::a00:1]/",
          "http://public.example/",
          "https://rebinding.example/"
        ]
      ) {
        const error = yield* Effect.flip(send(new URL(resource)))
        assert.deepStrictEqual([error.code, error.sent], ["egress_refused", false], resource)
        assert.notInclude(inspect(error), new URL(resource).host)
      }
    }).pipe(Effect.provide(layer(AddressPolicy.globalOnly()))))

  it.effect("PROX-05 gives a redirect back and goes nowhere", () =>
    Effect.gen(function*() {
      let requests = 0
      const target = yield* serve((_, response) => {
        requests++
        response.end()
      })
      const url = yield* serve((_, response) => response.writeHead(302, { location: target.href }).end())
      assert.strictEqual((yield* send(url)).status, 302)
      assert.strictEqual(requests, 0)
    }).pipe(Effect.provide(layer())))

  it.effect("ends when no head comes for two minutes", () =>
    Effect.gen(function*() {
      const arrived = yield* Deferred.make<void>()
      const url = yield* serve(() => void Deferred.doneUnsafe(arrived, Effect.void))
      const waiting = yield* Effect.forkChild(Effect.flip(send(url)))
      yield* Deferred.await(arrived)
      yield* TestClock.adjust("2 minutes")
      const error = yield* Fiber.join(waiting)
      assert.deepStrictEqual([error.code, error.sent], ["resource_timeout", true])
    }).pipe(Effect.provide(layer())))
})
